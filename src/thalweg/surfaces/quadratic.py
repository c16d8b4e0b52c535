"""The quadratic bowl: where every rate of convergence is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.surfaces.arguments import number, vector, whole
from thalweg.surfaces.surface import Surface


def quadratic(
    condition_number: float = 100.0,
    dim: int | None = None,
    *,
    rotation: float = 0.0,
    seed: int | None = None,
    eigenvalues: Sequence[float] | Tensor | None = None,
    center: float | Sequence[float] = 0.0,
) -> Surface:
    """½(x − c)ᵀA(x − c) with a chosen spectrum.

    The eigenvalues of A are spaced evenly on a log scale from 1 to `condition_number` (in one dimension:
    `condition_number` alone), in the order of the axes; or they are `eigenvalues`, of any sign, and
    `condition_number` does not matter. `dim` is 2, or the number of eigenvalues. The eigenvectors are the
    axes; in two dimensions turned by `rotation` degrees, or, with a `seed`, a random orthogonal basis.

    Raises InvalidArgument for condition_number < 1, dim < 1, or numbers that are not finite.
    Source: S. Boyd, L. Vandenberghe: Convex Optimization, 2004, section 9.3.2.
    """
    values = _spectrum(condition_number, dim, eigenvalues)
    size = len(values)
    c = vector("center", center, size)
    degrees = number("rotation", rotation)
    basis = _basis(size, degrees, seed)
    convex = bool((values >= 0).all())
    parameters: dict[str, Any] = {"rotation": degrees, "seed": seed}
    parameters["center"] = float(center) if isinstance(center, int | float) else c.tolist()
    if eigenvalues is None:
        parameters |= {"condition_number": float(condition_number), "dim": size}
    else:
        parameters["eigenvalues"] = values.tolist()

    def aligned(x: Tensor) -> Tensor:
        d = x - _column(c, x)
        return 0.5 * (_column(values, x) * d**2).sum(0)

    def rotated(x: Tensor) -> Tensor:
        assert basis is not None
        d = torch.tensordot(basis.T.to(x), x - _column(c, x), dims=1)
        return 0.5 * (_column(values, x) * d**2).sum(0)

    return Surface(
        "quadratic",
        aligned if basis is None else rotated,
        c + 1,
        domain=[(centre - 2, centre + 2) for centre in c.tolist()],
        critical=c[None],
        complete=bool((values != 0).all()),
        global_minimum=0.0 if convex else None,
        parameters=parameters,
        equation=r"\tfrac12 (x-c)^\top A (x-c)",
        description="A quadratic bowl of chosen condition number: the narrower, the slower the descent.",
        source="S. Boyd, L. Vandenberghe: Convex Optimization, 2004, section 9.3.2",
    )


def _spectrum(
    condition_number: float, dim: int | None, eigenvalues: Sequence[float] | Tensor | None
) -> Tensor:
    if eigenvalues is not None:
        size = whole("dim", len(eigenvalues) if dim is None else dim)
        return vector("eigenvalues", eigenvalues, size)
    size = whole("dim", 2 if dim is None else dim)
    kappa = number("condition_number", condition_number, least=1)
    if size == 1:
        return torch.tensor([kappa], dtype=torch.float64)
    powers = [kappa ** (i / (size - 1)) for i in range(size)]
    return torch.tensor(powers, dtype=torch.float64)


def _basis(size: int, rotation: float, seed: int | None) -> Tensor | None:
    """Orthonormal eigenvectors as columns (n, n); None for the axes themselves."""
    if seed is not None:
        if rotation:
            raise InvalidArgument(
                f"rotation and seed both turn the axes: give one, got {rotation} and {seed}"
            )
        generator = torch.Generator().manual_seed(whole("seed", seed, 0))
        # Uniform up to the signs of its columns (Mezzadri 2007), and those cancel in A.
        return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    if not rotation:
        return None
    if size != 2:
        raise InvalidArgument(
            f"rotation turns two dimensions, got dim {size}: give a seed for a random basis"
        )
    angle = math.radians(rotation)
    return torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )


def _column(values: Tensor, x: Tensor) -> Tensor:
    """A vector (n,) in x's type, to be combined with x (n, ...)."""
    return values.to(x).reshape(-1, *[1] * (x.dim() - 1))
