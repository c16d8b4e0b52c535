"""Choosing a plane: random, along eigenvectors, along axes, or through given points."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thalweg.curvature import Eigenpairs, eigenpairs, hessian
from thalweg.errors import InvalidArgument
from thalweg.landscape.normalization import Normalization, Treatment, normalized, treatments
from thalweg.landscape.plane import Plane, check_points, shadow
from thalweg.objective import AbstractObjective


def random_plane(
    obj: AbstractObjective,
    normalization: Normalization = "filter",
    seed: int = 0,
    *,
    center: Tensor | None = None,
    dim: int = 2,
    overrides: Mapping[str, Treatment] | None = None,
) -> Plane:
    """A plane through `center` (n,), the objective's point when None, along `dim` random Gaussian directions.

    Coordinate 1 is as far as the weights themselves are from zero, under "filter", "layer" and "model"; the table in
    `treatments` says what becomes of each kind of parameter, `overrides` of some by name, as {"*.bias": "layer"}.
    Raises InvalidArgument for an unknown normalization or a `dim` other than 1 and 2.
    Source: Li et al. (2018), Visualizing the loss landscape of neural nets.
    """
    if dim not in (1, 2):
        raise InvalidArgument(f"dim must be 1 or 2, got {dim}")
    center = obj.checked_point(center)
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randn(dim, obj.size, generator=draw).to(center)
    directions = torch.stack(
        [normalized(d, center, obj.blocks, normalization, overrides) for d in drawn], dim=1
    )
    held: list[str] = []
    if normalization in ("filter", "layer"):
        chosen = treatments(obj.blocks, normalization, overrides)
        held = [name for name, treatment in chosen.items() if treatment == "fixed"]
    limits = [
        shadow(obj.size, dim),
        "Random directions see the average curvature: the few stiffest directions hardly show.",
    ]
    if held:
        size = sum(block.size for block in obj.blocks if block.name in held)
        what = ", ".join(held[:4]) if overrides else "Biases and normalization layers"
        more = ", ..." if overrides and len(held) > 4 else ""
        limits.append(f"{what}{more} ({size:,} of {obj.size:,} parameters) are held fixed.")
    return Plane(
        center,
        directions,
        ((-1.0, 1.0),) * dim,
        "random",
        tuple(f"random direction {i + 1}, {normalization}-normalized" for i in range(dim)),
        {"normalization": normalization, "seed": seed},
        tuple(limits),
    )


def random_line(
    obj: AbstractObjective,
    normalization: Normalization = "filter",
    seed: int = 0,
    *,
    center: Tensor | None = None,
) -> Plane:
    """The one-dimensional `random_plane`."""
    return random_plane(obj, normalization, seed, center=center, dim=1)


def eigen_plane(
    obj: AbstractObjective, *, center: Tensor | None = None, pairs: Eigenpairs | None = None, seed: int = 0
) -> Plane:
    """The plane of the two stiffest directions: the top two Hessian eigenvectors at `center`, unit length.

    Parameters
    ----------
    pairs: eigenpairs at `center` with the largest first, where they are known already.
    """
    center = obj.checked_point(center)
    if pairs is None:
        with hessian(obj, center) as operator:
            pairs = eigenpairs(operator, 2, "largest", seed=seed)
    # Of the pairs from both ends the first half, and the middle one, are from the top.
    if pairs.which == "smallest" or pairs.values.numel() < (3 if pairs.which == "both" else 2):
        raise InvalidArgument("pairs must hold at least the two largest eigenvalues")
    reach = 0.1 * float(center.norm()) or 1.0
    values = pairs.values[:2].tolist()
    return Plane(
        center,
        pairs.vectors[:, :2],
        ((-reach, reach),) * 2,
        "eigenvectors",
        tuple(f"eigenvector {i + 1} (λ = {values[i]:.4g})" for i in range(2)),
        {"lambda_1": values[0], "lambda_2": values[1]},
        (shadow(obj.size, 2), "It shows the two stiffest directions, so every other one is flatter."),
    )


def axis_plane(obj: AbstractObjective, axes: tuple[int, int] = (0, 1), domain: Tensor | None = None) -> Plane:
    """The plane of two coordinates of θ, the others as at the point; its coordinates are θ's own.

    Parameters
    ----------
    domain: (n, 2) lowest and highest value of each coordinate; one unit around the point when None.

    Raises InvalidArgument for an axis that is not there.
    """
    center = obj.point
    for axis in axes:
        if not 0 <= axis < obj.size:
            raise InvalidArgument(f"axes must be below the dimension {obj.size}, got {axis}")
    if axes[0] == axes[1]:
        raise InvalidArgument(f"axes must be two different ones, got {axes[0]} twice")
    directions = torch.zeros(obj.size, 2, dtype=obj.dtype, device=obj.device)
    directions[axes[0], 0] = directions[axes[1], 1] = 1
    box = torch.stack([center - 1, center + 1], dim=1) if domain is None else domain
    extent = tuple((float(box[axis, 0]), float(box[axis, 1])) for axis in axes)
    center[list(axes)] = 0
    limits = () if obj.size == 2 else (shadow(obj.size, 2),)
    return Plane(center, directions, extent, "axes", tuple(f"x[{axis}]" for axis in axes), {}, limits)


def plane_through(a: Tensor, b: Tensor, c: Tensor) -> Plane:
    """The plane through three points (n,): a at (0, 0), b at (1, 0), c at (0, 1)."""
    check_points((a, b, c), ("a", "b", "c"))
    return Plane(
        a,
        torch.stack([b - a, c - a], dim=1),
        ((-0.25, 1.25),) * 2,
        "through points",
        ("from a to b", "from a to c"),
        {"distance_ab": float((b - a).norm()), "distance_ac": float((c - a).norm())},
        (f"It is a 2-D shadow of {a.numel():,} dimensions: paths between the points may bend out of it.",),
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
    )


def line_through(a: Tensor, b: Tensor) -> Plane:
    """The line through two points (n,): a at 0, b at 1."""
    check_points((a, b), ("a", "b"))
    return Plane(
        a,
        (b - a)[:, None],
        ((-0.25, 1.25),),
        "through points",
        ("from a to b",),
        {"distance_ab": float((b - a).norm())},
        ("A barrier on the straight line does not mean that no other path is low.",),
        torch.tensor([[0.0], [1.0]], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
