"""Choosing a plane: random, along eigenvectors or the gradient, along axes, or through given points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.checks import one_of, whole
from thalweg.curvature import Eigenpairs, SymmetricOperator, eigenpairs, ggn, gradient_covariance, hessian
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape.normalization import Normalization, Treatment, normalized, treatments
from thalweg.landscape.plane import Plane, check_points, shadow
from thalweg.objective import AbstractObjective, require_objective

Matrix: TypeAlias = Literal["hessian", "ggn", "gradient_covariance"]

_MATRICES: dict[Matrix, tuple[Callable[[AbstractObjective, Tensor], SymmetricOperator], str, str]] = {
    "hessian": (
        hessian,
        "eigenvectors",
        "It shows the two stiffest directions, so every other one is flatter.",
    ),
    "ggn": (
        ggn,
        "Gauss-Newton eigenvectors",
        "It shows the two directions in which the outputs change most, weighted by the loss; what the Hessian adds to "
        "that, negative curvature above all, is not looked for.",
    ),
    "gradient_covariance": (
        gradient_covariance,
        "gradient eigenvectors",
        "It shows the two directions in which the samples' gradients are largest: in every other one they pull less.",
    ),
}
"""By name: the operator at a point, the plane's kind, and what its eigenvectors are."""
_VECTOR: dict[Matrix, str] = {
    "hessian": "eigenvector",
    "ggn": "Gauss-Newton eigenvector",
    "gradient_covariance": "gradient covariance's eigenvector",
}
_PARALLEL = 0.01
"""Sine of an angle to an eigenvector, which is known to about a thousandth, below which nothing is left across."""


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
    require_objective(obj)
    whole("seed", seed, 0)
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
    limits = list(shadow(obj.size, dim))
    if obj.size > dim:
        limits.append("Random directions see the average curvature: the few stiffest directions hardly show.")
    if held:
        size = sum(block.size for block in obj.blocks if block.name in held)
        what = ", ".join(held[:4]) if overrides else "Biases and normalization layers"
        more = ", ..." if overrides and len(held) > 4 else ""
        limits.append(f"{what}{more} ({size:,} of {obj.size:,} parameters) are held fixed.")
    size = sum(block.size for block in obj.blocks if block.name in held)
    still = int((directions == 0).all(dim=1).sum()) - size
    if still > 0 and normalization != "none":
        limits.append(f"Filters and layers that are zero ({still:,} parameters) stay so.")
    length = "of unit length" if normalization == "none" else f"{normalization}-normalized"
    return Plane(
        center,
        directions,
        ((-1.0, 1.0),) * dim,
        "random",
        tuple(f"random direction {i + 1}, {length}" for i in range(dim)),
        {"normalization": normalization, "seed": seed},
        tuple(limits),
    )


def random_line(
    obj: AbstractObjective,
    normalization: Normalization = "filter",
    seed: int = 0,
    *,
    center: Tensor | None = None,
    overrides: Mapping[str, Treatment] | None = None,
) -> Plane:
    """The one-dimensional `random_plane`."""
    return random_plane(obj, normalization, seed, center=center, dim=1, overrides=overrides)


def eigen_plane(
    obj: AbstractObjective,
    matrix: Matrix = "hessian",
    *,
    center: Tensor | None = None,
    pairs: Eigenpairs | None = None,
    seed: int = 0,
) -> Plane:
    """The plane of the top two eigenvectors of `matrix` at `center` (n,), the objective's point when None; unit length.

    "hessian" has the two stiffest directions; "ggn" those of the Gauss-Newton matrix; "gradient_covariance" those of
    the mean of gₙgₙᵀ over the samples' gradients gₙ, not centered, along which the gradients of single samples, and so
    of batches, are largest.

    Parameters
    ----------
    pairs: eigenpairs of the matrix at `center` with the largest first, where they are known already.

    Raises InvalidArgument for an unknown matrix or pairs without the two largest, NotDifferentiable for the samples'
    gradients of an objective that has no samples.
    Source, of the last: Gur-Ari, Roberts & Dyer (2018), Gradient descent happens in a tiny subspace.
    """
    require_objective(obj)
    one_of("matrix", matrix, tuple(_MATRICES))
    center = obj.checked_point(center)
    operator_of, kind, shown = _MATRICES[matrix]
    pairs = _leading(obj, operator_of, center, pairs, 2, seed)
    values = pairs.values[:2].tolist()
    return Plane(
        center,
        pairs.vectors[:, :2],
        (_around(center),) * 2,
        kind,
        tuple(f"{_VECTOR[matrix]} {i + 1} (λ = {values[i]:.4g})" for i in range(2)),
        {"matrix": matrix, "lambda_1": values[0], "lambda_2": values[1]},
        (*shadow(obj.size, 2), *([shown] if obj.size > 2 else [])),
    )


def gradient_plane(
    obj: AbstractObjective, *, center: Tensor | None = None, pairs: Eigenpairs | None = None, seed: int = 0
) -> Plane:
    """The plane of the gradient and the stiffest direction: how a step downhill and its overshoot look.

    Direction 1 is the gradient at `center` (n,), the objective's point when None, of unit length: the loss falls to the
    left of it. Direction 2 is the Hessian's top eigenvector without its part along the gradient, of unit length;
    `facts` has how much of it that is, as the cosine of their angle.

    Parameters
    ----------
    pairs: eigenpairs of the Hessian at `center` with the largest first, where they are known already.

    Raises InvalidArgument where the gradient is zero or not finite, or the eigenvector lies along it.
    """
    require_objective(obj)
    center = obj.checked_point(center)
    gradient = obj.gradient(center)
    norm = float(gradient.norm())
    if not 0 < norm < float("inf"):
        raise InvalidArgument(
            f"center must have a gradient that is finite and not zero, got one of norm {norm}"
        )
    pairs = _leading(obj, hessian, center, pairs, 1, seed)
    along, top = gradient / norm, pairs.vectors[:, 0]
    cosine = float(along @ top)
    across = top - cosine * along
    left = float(across.norm())
    if left < _PARALLEL:
        raise InvalidArgument(
            "center must have a gradient that does not lie along the top eigenvector, as here"
        )
    value = float(pairs.values[0])
    return Plane(
        center,
        torch.stack([along, across / left], dim=1),
        (_around(center),) * 2,
        "gradient",
        (f"gradient (norm {norm:.4g})", f"eigenvector 1 (λ = {value:.4g}) across the gradient"),
        {"gradient_norm": norm, "lambda_1": value, "cosine": cosine},
        (
            *shadow(obj.size, 2),
            "It shows the steepest direction and the stiffest one: the way down of many steps bends out of it.",
        ),
    )


def _leading(
    obj: AbstractObjective,
    matrix: Callable[[AbstractObjective, Tensor], SymmetricOperator],
    center: Tensor,
    pairs: Eigenpairs | None,
    count: int,
    seed: int,
) -> Eigenpairs:
    """Eigenpairs of which the first `count` are the largest: `pairs`, where they are, or found here."""
    if pairs is None:
        with matrix(obj, center) as operator:
            return eigenpairs(operator, count, "largest", seed=seed)
    # Of the pairs from both ends the first half, and the middle one, are from the top.
    least = 2 * count - 1 if pairs.which == "both" else count
    if pairs.which not in ("largest", "both") or pairs.values.numel() < least:
        wanted = "largest eigenvalue" if count == 1 else f"{count} largest eigenvalues"
        raise InvalidArgument(f"pairs must hold at least the {wanted}, got {pairs}")
    return pairs


def _around(center: Tensor) -> tuple[float, float]:
    """A tenth of the length of the weights to either side."""
    reach = 0.1 * float(center.norm()) or 1.0
    return -reach, reach


def axis_plane(obj: AbstractObjective, axes: tuple[int, int] = (0, 1), domain: Tensor | None = None) -> Plane:
    """The plane of two coordinates of θ, the others as at the point; its coordinates are θ's own.

    Parameters
    ----------
    domain: (n, 2) lowest and highest value of each coordinate; one unit around the point when None.

    Raises InvalidArgument for an axis that is not there, ShapeMismatch for a domain of another shape.
    """
    require_objective(obj)
    center = obj.point
    if not isinstance(axes, Sequence) or len(axes) != 2:  # pyright: ignore[reportUnnecessaryIsInstance] - users pass one
        raise InvalidArgument(f"axes must be two coordinates, got {axes}")
    for axis in axes:
        if whole("axes", axis, 0) >= obj.size:
            raise InvalidArgument(f"axes must be below the dimension {obj.size}, got {axis}")
    if axes[0] == axes[1]:
        raise InvalidArgument(f"axes must be two different ones, got {axes[0]} twice")
    directions = torch.zeros(obj.size, 2, dtype=obj.dtype, device=obj.device)
    directions[axes[0], 0] = directions[axes[1], 1] = 1
    box = torch.stack([center - 1, center + 1], dim=1) if domain is None else torch.as_tensor(domain)
    if box.shape != (obj.size, 2):
        raise ShapeMismatch(f"domain must have shape ({obj.size}, 2), got {tuple(box.shape)}")
    extent = tuple((float(box[axis, 0]), float(box[axis, 1])) for axis in axes)
    point = tuple(center[list(axes)].tolist())
    center[list(axes)] = 0
    labels = tuple(f"x[{axis}]" for axis in axes)
    return Plane(center, directions, extent, "axes", labels, {}, shadow(obj.size, 2), point=point)


def plane_through(a: Tensor, b: Tensor, c: Tensor) -> Plane:
    """The plane through three points (n,): a at (0, 0), b at (1, 0), c at (0, 1).

    Raises InvalidArgument for points on one line or that are no tensors, ShapeMismatch for ones of other lengths;
    `obj.flatten(state_dict)` makes a point of a model's.
    """
    check_points((a, b, c), ("a", "b", "c"))
    return Plane(
        a,
        torch.stack([b - a, c - a], dim=1),
        ((-0.25, 1.25),) * 2,
        "through points",
        ("from a to b", "from a to c"),
        {"distance_ab": float((b - a).norm()), "distance_ac": float((c - a).norm())},
        shadow(a.numel(), 2, "paths between the points may bend out of it"),
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
