"""A quadratic with a random symmetric matrix: the model of the Hessian at a random critical point."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.surfaces.arguments import whole
from thalweg.surfaces.surface import Surface


def goe(dim: int = 10, seed: int = 0) -> Surface:
    """½xᵀAx with A from the Gaussian orthogonal ensemble, scaled so that its spectrum fills [−2, 2].

    A is symmetric; entries off the diagonal have variance 1/dim, those on it 2/dim, so that for large `dim`
    the eigenvalues follow Wigner's semicircle of radius 2. The origin is the only critical point, almost
    surely a saddle for all but small `dim`.

    Raises InvalidArgument for dim < 1 or a negative seed.
    Source: M. L. Mehta: Random Matrices, 3rd edition, 2004, chapter 2.
    """
    generator = torch.Generator().manual_seed(whole("seed", seed, 0))
    g = torch.randn(whole("dim", dim), dim, generator=generator, dtype=torch.float64)
    a = (g + g.T) / (2 * dim) ** 0.5

    def formula(x: Tensor) -> Tensor:
        return 0.5 * (x * torch.tensordot(a.to(x), x, dims=1)).sum(0)

    return Surface(
        "goe",
        formula,
        torch.ones(dim),
        domain=(-2.0, 2.0),
        critical=torch.zeros(1, dim, dtype=torch.float64),
        complete=True,
        parameters={"dim": dim, "seed": seed},
        equation=r"\tfrac12 x^\top A x,\quad A \sim \mathrm{GOE}",
        description="A quadratic with a random symmetric matrix: its origin is a saddle, rarely a minimum.",
        source="M. L. Mehta: Random Matrices, 3rd edition, Elsevier, 2004, chapter 2",
    )
