"""Dense symmetric matrices with a chosen spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature import SymmetricOperator


def rotated(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """The matrix (n, n) with these eigenvalues and random orthonormal eigenvectors."""
    n = len(eigenvalues)
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64)).Q
    matrix = (basis * eigenvalues.double()) @ basis.T
    return (matrix + matrix.T) / 2


def diagonal(eigenvalues: Tensor) -> SymmetricOperator:
    """The diagonal matrix as an operator that holds nothing but its diagonal."""

    def product(v: Tensor) -> Tensor:
        return eigenvalues * v if v.dim() == 1 else eigenvalues[:, None] * v

    return SymmetricOperator(product, len(eigenvalues), dtype=eigenvalues.dtype)
