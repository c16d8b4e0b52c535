"""Eigenpairs that are known beforehand, which a quadrature takes as they are and keeps its probes off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs
from thalweg.curvature.spectrum.ritz import Ritz
from thalweg.errors import ShapeMismatch


@dataclass(frozen=True)
class Known:
    """Eigenvalues (k,), their residuals (k,) and eigenvectors (n, k), of a matrix of `size` n."""

    values: Tensor
    residuals: Tensor
    vectors: Tensor
    size: int

    @classmethod
    def among(cls, pairs: Eigenpairs | None, operator: SymmetricOperator) -> Known:
        """The converged ones of `pairs`; not all n, for a probe must have something left."""
        size = operator.shape[0]
        if pairs is None:
            none = torch.zeros(0, dtype=torch.float64)
            return cls(none, none, torch.zeros(size, 0, dtype=operator.dtype, device=operator.device), size)
        if pairs.vectors.shape[0] != size:
            raise ShapeMismatch(f"pairs must hold vectors of {size} entries, got {pairs.vectors.shape[0]}")
        kept = pairs.converged.nonzero().flatten()[: size - 1]
        values, residuals = pairs.values[kept].double().cpu(), pairs.residuals[kept].double().cpu()
        return cls(values, residuals, pairs.vectors[:, kept], size)

    def without(self, v: Tensor) -> Tensor:
        """v (n,) without its parts along the known vectors, in place; twice, which is enough."""
        for _ in range(2 if self.values.numel() else 0):
            v.addmv_(self.vectors, self.vectors.T @ v, alpha=-1)
        return v

    def joined(self, found: Ritz) -> Ritz:
        """Together with what a probe found in the rest: each eigenvalue weighs 1/n, the rest what is left."""
        k = self.values.numel()
        weights = found.weights / found.weights.sum() * (1 - k / self.size)
        own = torch.full((k,), 1 / self.size, dtype=torch.float64)
        return Ritz(
            torch.cat([self.values, found.values]),
            torch.cat([self.residuals, found.residuals]),
            torch.cat([own, weights]),
        )
