"""The planes that hold most of a training run's path, found without holding all of its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.landscape.connectivity.ends import End, as_point
from thalweg.landscape.plane import Plane, check_points, shadow
from thalweg.objective import AbstractObjective, require_objective

MEMORY = 2**29
"""Bytes of checkpoints that are held at once."""


class Points(Protocol):
    """Points (n,), models or state dictionaries by position: a list, or what reads them as they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> End: ...


def trajectory_plane(obj: AbstractObjective, checkpoints: Points, *, memory: int = MEMORY) -> Plane:
    """The plane through the last of `checkpoints` (n,) that holds most of the others' variance.

    The principal directions of the differences to the last checkpoint, found from their T × T Gram matrix;
    orthonormal. `facts` has the share of the squared distance that each explains, `path` the checkpoints'
    coordinates and `distances` how far each lies from the plane.

    checkpoints: points (n,), models or their state dictionaries. At most `memory` bytes of them are held at once; where
    all are more, each is asked for several times.

    Raises InvalidArgument for fewer than three checkpoints or ones that do not span a plane.
    Sources: Li et al. (2018), section 7; Lorch (2016).
    """
    require_objective(obj)
    offsets = _Offsets.of(obj, checkpoints, memory)
    share, directions = offsets.principal(offsets.gram())
    path, away = offsets.shadows(offsets.center, directions)
    walk = _random_walk_share(len(checkpoints))
    held = "path's squared distances to its end"
    return _plane(obj, "trajectory", offsets.center, directions, _around(path), share, walk, held, path, away)


def trajectory_informed_plane(
    obj: AbstractObjective, checkpoints: Points, *, center: Tensor | None = None, memory: int = MEMORY
) -> Plane:
    """The plane through `center` (n,) along the principal directions of the whole path, as long as `center` is.

    The leading eigenvectors p of the covariance of `checkpoints` (each (n,)) around their mean, times ‖center‖:
    coordinate 1 is as far as the weights themselves are from zero, as in a random plane. It is laid through any point
    of the run, the last when None; through an early one it shows the way down, where a random plane shows a minimum.
    `facts`, `path` and `distances` are those of `trajectory_plane`, the variance being around the mean.

    The extent is -1 to 1, or as much more as the path takes. A checkpoint's coordinates are those of the nearest point
    of the plane; equation (4) of the paper has that point farther from the center by a factor ‖center‖, and is right
    where that is 1. `fitting_error` says how near the losses there are to those of the run.

    At most `memory` bytes of checkpoints are held at once; where all of them are more, each is asked for several times.

    Raises InvalidArgument for fewer than three checkpoints, ones that do not span a plane, or a center of zero.
    Source: Ding, Li & Huang (2023), Better loss landscape visualization for deep neural networks with trajectory
    information, equations (1) and (2).
    """
    require_objective(obj)
    offsets = _Offsets.of(obj, checkpoints, memory)
    center = offsets.center if center is None else obj.checked_point(center)
    length = float(center.norm())
    if not 0 < length < math.inf:
        raise InvalidArgument(f"center must be finite and not zero, got a vector of norm {length}")
    share, basis = offsets.principal(offsets.covariance())
    path, away = offsets.shadows(center, basis)
    path = path / length
    reach = [max(1.0, 1.1 * float(along)) for along in path.abs().amax(dim=0)]
    extent = tuple((-far, far) for far in reach)
    walk = _random_walk_share(len(checkpoints), centered=True)
    held = "path's variance"
    return _plane(obj, "trajectory-informed", center, basis * length, extent, share, walk, held, path, away)


def _plane(
    obj: AbstractObjective,
    kind: str,
    center: Tensor,
    directions: Tensor,
    extent: tuple[tuple[float, float], ...],
    share: list[float],
    walk: float,
    held: str,
    path: Tensor,
    away: Tensor,
) -> Plane:
    """The plane with its labels, facts and limits; `walk` is what a random walk would show of what is `held`."""
    farthest = float(away.max())
    return Plane(
        center,
        directions,
        extent,
        kind,
        tuple(f"principal direction {i + 1} ({100 * share[i]:.1f} % of the {held})" for i in range(2)),
        {
            "variance_explained": share[0] + share[1],
            "variance_explained_1": share[0],
            "variance_explained_2": share[1],
            "random_walk_explains": walk,
            "largest_distance": farthest,
        },
        (
            *shadow(obj.size, 2),
            f"The plane holds {100 * (share[0] + share[1]):.1f} % of the {held}; a random walk of {len(path)} points "
            f"would show {100 * walk:.0f} %.",
            "Checkpoints are projected: the colour under a point is not the loss the run had there "
            f"(up to {farthest:.3g} away from the plane).",
        ),
        path,
        away,
    )


def require_points(points: object) -> None:
    """Raise InvalidArgument for what has no points by position: one model, a state dictionary, a generator."""
    if isinstance(points, (nn.Module, Mapping)) or not hasattr(points, "__getitem__"):
        raise InvalidArgument(
            f"checkpoints must be a list of points, models or state dictionaries, got {type(points).__name__}"
        )


class _Offsets:
    """Differences of all checkpoints but the last to the last, in blocks of as many as memory allows."""

    @classmethod
    def of(cls, obj: AbstractObjective, points: Points, memory: int) -> _Offsets:
        """Those of a path; raises InvalidArgument for fewer than three points."""
        require_points(points)
        count = len(points)
        if count < 3:
            raise InvalidArgument(f"checkpoints must hold at least 3 points to span a plane, got {count}")
        last = _point(obj, points[count - 1], f"checkpoints[{count - 1}]")
        check_points([last], [f"checkpoints[{count - 1}]"])
        return cls(obj, points, obj.checked_point(last), memory)

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

    def covariance(self) -> Tensor:
        """Products (T, T) of all checkpoints' differences to their mean with each other, the last one's in the end."""
        count = self.parts[-1].stop + 1
        found = torch.zeros(count, count, dtype=torch.float64)
        found[:-1, :-1] = self.gram()
        return found - found.mean(dim=0) - found.mean(dim=1, keepdim=True) + found.mean()

    def principal(self, products: Tensor) -> tuple[list[float], Tensor]:
        """The share of each principal direction, and the first two as orthonormal columns (n, 2).

        `products` of differences, to the last checkpoint or to the mean of all, have them as combinations of the
        differences to the last: an eigenvector of products around the mean sums to zero.
        Raises InvalidArgument where the second spreads no more than rounding.
        """
        values, vectors = torch.linalg.eigh(products)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        # Rounding, of the products and of the points themselves, spreads points that lie on a line by this much.
        rounding = max(
            torch.finfo(torch.float64).eps * float(values[0]),
            (torch.finfo(self.obj.dtype).eps * self.largest) ** 2,
        )
        if not values[1] > self.parts[-1].stop * rounding:
            raise InvalidArgument("checkpoints do not span a plane: they lie on one line, or coincide")
        weights = (vectors[:, :2] / values[:2].sqrt()).to(self.center)
        directions = torch.linalg.qr(sum(block.T @ weights[rows] for rows, block in self.blocks())).Q
        return (values / values.sum()).tolist(), directions

    def shadows(self, through: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (T, 2) and distances (T,) of the checkpoints in the plane `through` a point (n,), float64.

        directions: (n, 2), orthonormal.
        """
        count = self.parts[-1].stop + 1
        path, away = torch.zeros(count, 2, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        shift = self.center - through
        last = slice(count - 1, count), torch.zeros_like(shift)[None]
        for rows, block in chain(self.blocks(), [last]):
            coordinates = block @ directions
            path[rows] = (coordinates + shift @ directions).double().cpu()
            outside = (block - coordinates @ directions.T).add_(shift - directions @ (shift @ directions))
            away[rows] = outside.norm(dim=1).double().cpu()
        return path, away

    def _read(self, rows: slice) -> Tensor:
        block = torch.empty(rows.stop - rows.start, self.center.numel()).to(self.center)
        for i in range(rows.start, rows.stop):
            name = f"checkpoints[{i}]"
            point = _point(self.obj, self.points[i], name)
            check_points([self.center, point], ["the last checkpoint", name])
            size = float(point.norm())
            if not math.isfinite(size):
                raise InvalidArgument(f"{name} must be finite, got a vector of norm {size}")
            self.largest = max(self.largest, size)
            torch.sub(self.obj.checked_point(point), self.center, out=block[i - rows.start])
        return block


def _point(obj: AbstractObjective, found: End, name: str) -> Tensor:
    return found if isinstance(found, Tensor) else as_point(obj, found, name)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in double precision, for the second eigenvalue may be small: piece by piece, to hold no second copy."""
    pieces = zip(a.split(2**16, dim=1), b.split(2**16, dim=1), strict=True)
    return sum((x.double() @ y.double().T for x, y in pieces), torch.zeros(())).cpu()


def _around(path: Tensor) -> tuple[tuple[float, float], ...]:
    """A box around the path with a quarter of its larger side as margin."""
    low, high = path.min(dim=0).values.tolist(), path.max(dim=0).values.tolist()
    margin = 0.25 * max(h - lo for lo, h in zip(low, high, strict=True))
    return tuple((lo - margin, h + margin) for lo, h in zip(low, high, strict=True))


def _random_walk_share(points: int, centered: bool = False) -> float:
    """Share that two principal directions hold of a long random walk's squared distance to its end, or to its mean.

    In high dimension the Gram matrix of a walk of T steps measured from its end is min(i, j), with eigenvalues
    1 / (4 sin²((2k−1)π / (4T+2))) and sum T(T+1)/2. Measured from the mean of its T+1 points it is the inverse of the
    second difference, with eigenvalues 1 / (4 sin²(kπ / (2T+2))) and sum T(T+2)/6 (Antognini & Sohl-Dickstein 2018).
    """
    steps = points - 1
    k = torch.arange(1, 3, dtype=torch.float64)
    if centered:
        top = 1 / (4 * torch.sin(k * torch.pi / (2 * steps + 2)) ** 2)
        return float(top.sum()) / (steps * (steps + 2) / 6)
    top = 1 / (4 * torch.sin((2 * k - 1) * torch.pi / (4 * steps + 2)) ** 2)
    return float(top.sum()) / (steps * (steps + 1) / 2)
