"""The plane that holds most of a training run's path, found without holding all of its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.landscape.plane import Plane, check_points, shadow
from thalweg.objective import AbstractObjective

MEMORY = 2**29
"""Bytes of checkpoints that are held at once."""


class Points(Protocol):
    """Points (n,) by position: a list of tensors, or whatever reads them from disk as they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> Tensor: ...


def trajectory_plane(obj: AbstractObjective, checkpoints: Points, *, memory: int = MEMORY) -> Plane:
    """The plane through the last of `checkpoints` (each (n,)) that holds most of the others' variance.

    The principal directions of the differences to the last checkpoint, found from their T × T Gram matrix;
    orthonormal. `facts` has the share of the squared distance that each explains, `path` the checkpoints'
    coordinates and `distances` how far each lies from the plane.

    At most `memory` bytes of checkpoints are held at once; where all of them are more, each is asked for several times.

    Raises InvalidArgument for fewer than three checkpoints or ones that do not span a plane.
    Sources: Li et al. (2018), section 7; Lorch (2016).
    """
    count = len(checkpoints)
    if count < 3:
        raise InvalidArgument(f"checkpoints must hold at least 3 points to span a plane, got {count}")
    last = checkpoints[count - 1]
    check_points([last], [f"checkpoints[{count - 1}]"])
    offsets = _Offsets(obj, checkpoints, obj.checked_point(last), memory)
    values, vectors = torch.linalg.eigh(offsets.gram())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    # Rounding, of the products and of the points themselves, spreads points that lie on a line by this much.
    products = torch.finfo(torch.float64).eps * float(values[0])
    points = (torch.finfo(obj.dtype).eps * offsets.largest) ** 2
    if not values[1] > (count - 1) * max(products, points):
        raise InvalidArgument("checkpoints do not span a plane: they lie on one line, or coincide")
    weights = (vectors[:, :2] / values[:2].sqrt()).to(last)
    directions = torch.linalg.qr(sum(block.T @ weights[rows] for rows, block in offsets.blocks())).Q
    path, away = torch.zeros(count, 2, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for rows, block in offsets.blocks():
        coordinates = block @ directions
        path[rows] = coordinates.double().cpu()
        away[rows] = (block - coordinates @ directions.T).norm(dim=1).double().cpu()
    share = (values / values.sum()).tolist()
    farthest, walk = float(away.max()), _random_walk_share(count)
    return Plane(
        offsets.center,
        directions,
        _around(path),
        "trajectory",
        tuple(f"principal direction {i + 1} ({share[i]:.1%} of the path's variance)" for i in range(2)),
        {
            "variance_explained": share[0] + share[1],
            "variance_explained_1": share[0],
            "variance_explained_2": share[1],
            "random_walk_explains": walk,
            "largest_distance": farthest,
        },
        (
            shadow(obj.size, 2),
            f"The plane holds {share[0] + share[1]:.1%} of the path's squared distance from its end; a random walk of "
            f"{count} points would show {walk:.0%}.",
            "Checkpoints are projected: the colour under a point is not the loss the run had there "
            f"(up to {farthest:.3g} away from the plane).",
        ),
        path,
        away,
    )


class _Offsets:
    """Differences of all checkpoints but the last to the last, in blocks of as many as memory allows."""

    def __init__(self, obj: AbstractObjective, points: Points, center: Tensor, memory: int) -> None:
        self.obj = obj
        self.points = points
        self.center = center
        self.largest = float(center.norm())
        count = len(points) - 1
        whole = memory // (center.numel() * center.itemsize)
        # A Gram matrix needs two blocks at once where one does not hold all.
        size = count if whole >= count else max(1, whole // 2)
        self.parts = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        self._kept = self._read(self.parts[0]) if len(self.parts) == 1 else None

    def blocks(self, after: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the path and their differences (rows, n), from the block numbered `after` on."""
        for rows in self.parts[after:]:
            yield rows, self._read(rows) if self._kept is None else self._kept

    def gram(self) -> Tensor:
        """Products (T − 1, T − 1) of all differences with each other, float64 on the CPU."""
        count = self.parts[-1].stop
        found = torch.zeros(count, count, dtype=torch.float64)
        for number, (rows, block) in enumerate(self.blocks()):
            found[rows, rows] = _products(block, block)
            for columns, other in self.blocks(number + 1):
                found[rows, columns] = _products(block, other)
                found[columns, rows] = found[rows, columns].T
        return found

    def _read(self, rows: slice) -> Tensor:
        block = torch.empty(rows.stop - rows.start, self.center.numel()).to(self.center)
        for i in range(rows.start, rows.stop):
            point, name = self.points[i], f"checkpoints[{i}]"
            check_points([self.center, point], ["the last checkpoint", name])
            size = float(point.norm())
            if not math.isfinite(size):
                raise InvalidArgument(f"{name} must be finite, got a vector of norm {size}")
            self.largest = max(self.largest, size)
            torch.sub(self.obj.checked_point(point), self.center, out=block[i - rows.start])
        return block


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in double precision, for the second eigenvalue may be small: piece by piece, to hold no second copy."""
    pieces = zip(a.split(2**16, dim=1), b.split(2**16, dim=1), strict=True)
    return sum((x.double() @ y.double().T for x, y in pieces), torch.zeros(())).cpu()


def _around(path: Tensor) -> tuple[tuple[float, float], ...]:
    """A box around the path with a quarter of its larger side as margin."""
    low, high = path.min(dim=0).values.tolist(), path.max(dim=0).values.tolist()
    margin = 0.25 * max(h - lo for lo, h in zip(low, high, strict=True))
    return tuple((lo - margin, h + margin) for lo, h in zip(low, high, strict=True))


def _random_walk_share(points: int) -> float:
    """Share of the squared distance to the end that two principal directions hold of a long random walk.

    In high dimension the Gram matrix of a walk of T steps measured from its end is min(i, j), with eigenvalues
    1 / (4 sin²((2k−1)π / (4T+2))) and sum T(T+1)/2 (Antognini & Sohl-Dickstein 2018 treat the centred case).
    """
    steps = points - 1
    k = torch.arange(1, 3, dtype=torch.float64)
    top = 1 / (4 * torch.sin((2 * k - 1) * torch.pi / (4 * steps + 2)) ** 2)
    return float(top.sum()) / (steps * (steps + 1) / 2)
