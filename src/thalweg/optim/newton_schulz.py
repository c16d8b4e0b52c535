"""Newton–Schulz orthogonalization: all singular values of a matrix brought near 1 by products alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from thalweg.errors import ShapeMismatch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of Jordan et al. (2024): the steepest slope at 0 for which five steps end in about [0.7, 1.2]."""

FEW_PRODUCTS = 65_536
"""Multiplications m²n up to which a matrix stays in bfloat16 on any processor, where this costs a millisecond."""


def orthogonalize(
    matrices: Tensor,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Matrices UΣVᵀ, shape (..., rows, columns), to about UVᵀ of the same shape, in the type of the iteration.

    `steps` times X ← aX + (bA + cA²)X with A = XXᵀ, from X = M/‖M‖_F, on the transpose of a tall matrix. Singular
    values end in about [0.7, 1.2], not at 1, and only those above about 3e-3 of the norm get there. A norm below
    `eps` counts as `eps`. `dtype`: what to compute in; None: see `iteration_dtype`.

    Raises ShapeMismatch for fewer than two axes. Sources: Jordan et al. (2024), Muon; Bernstein & Newhouse (2024).
    """
    if matrices.dim() < 2:
        raise ShapeMismatch(f"matrices must have at least 2 axes, got shape {tuple(matrices.shape)}")
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    m = matrices.to(iteration_dtype(matrices) if dtype is None else dtype)
    x = m.mT if tall else m
    batch = x.shape[:-2]
    x = x.reshape(-1, *x.shape[-2:]) if len(batch) > 1 else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    plus_product = torch.baddbmm if batch else torch.addmm
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = plus_product(gram, gram, gram, beta=b, alpha=c)
        x = plus_product(x, polynomial, x, beta=a)
    x = x.view(*batch, *x.shape[-2:])
    return x.mT if tall else x


def iteration_dtype(matrices: Tensor) -> torch.dtype:
    """The type that `orthogonalize` computes matrices (..., rows, columns) in: bfloat16 as torch's, else float32.

    A processor without bfloat16 arithmetic emulates it 30 to 60 times slower than float32, which is more exact as
    well; there only small matrices are computed as torch does, to the same last bit.
    """
    short, long = sorted(matrices.shape[-2:])
    fast = matrices.device.type != "cpu" or multiplies_bfloat16()
    return torch.bfloat16 if fast or short * short * long <= FEW_PRODUCTS else torch.float32


@cache
def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16 numbers."""
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check is not None and check() for check in checks)
