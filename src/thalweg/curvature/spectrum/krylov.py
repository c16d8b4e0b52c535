"""The Lanczos recurrence: an orthonormal Krylov basis and the operator projected on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.basis import Basis


@dataclass(frozen=True)
class Tridiagonal:
    """The Lanczos matrix T: `diagonal` (m,) and `off_diagonal` (m-1,), in float64 on the CPU."""

    diagonal: Tensor
    off_diagonal: Tensor

    def eigen(self) -> tuple[Tensor, Tensor]:
        """Ritz values (m,), ascending, and the squared first components (m,) of T's eigenvectors."""
        matrix = torch.diag(self.diagonal)
        if self.off_diagonal.numel():
            matrix += torch.diag(self.off_diagonal, 1) + torch.diag(self.off_diagonal, -1)
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors[0].square()


def lanczos(operator: SymmetricOperator, start: Tensor, steps: int, *, reorthogonalize: bool) -> Tridiagonal:
    """`steps` Lanczos steps from `start` (n,), fewer when an invariant subspace is exhausted.

    With re-orthogonalization `steps` vectors are held and three more; without it those three, besides the start,
    and converged Ritz values repeat as ghosts while their weights still add up to the right measure
    (Golub & Meurant 2010, ch. 4). Raises InvalidArgument when held vectors show that A is not symmetric.
    """
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    for alpha, beta in _recurrence(operator, start, min(steps, operator.shape[0]), reorthogonalize):
        diagonal.append(alpha)
        off_diagonal.append(beta)
    return Tridiagonal(
        torch.tensor(diagonal, dtype=torch.float64), torch.tensor(off_diagonal[:-1], dtype=torch.float64)
    )


def _recurrence(
    operator: SymmetricOperator, start: Tensor, steps: int, reorthogonalize: bool
) -> Iterator[tuple[float, float]]:
    current = start / start.norm()
    previous = torch.zeros_like(current)
    basis = Basis(operator, steps if reorthogonalize else 0)
    beta, scale, left = 0.0, 0.0, 0.0
    for step in range(steps):
        if reorthogonalize:
            basis.set(step, current)
        residual = operator @ current
        # In place, here and below: no fourth vector is held.
        residual.sub_(previous, alpha=beta)
        alpha = float(residual @ current)
        residual.sub_(current, alpha=alpha)
        if reorthogonalize:
            left = float(basis.orthogonalize(residual, step + 1).norm())
        beta = float(residual.norm())
        scale = max(scale, abs(alpha) + beta)
        # Of a symmetric matrix the recurrence leaves nothing along earlier vectors.
        operator.require_symmetry(left, scale)
        yield alpha, beta
        if beta <= 10 * torch.finfo(current.dtype).eps * scale:
            return
        previous, current = current, residual.div_(beta)
        del residual
