"""Ritz values of a Lanczos run with their residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.spectrum.krylov import Tridiagonal


@dataclass(frozen=True)
class Ritz:
    """Ritz values (m,), ascending; their residuals ‖Ay − θy‖ (m,); the start's weight (m,) in each."""

    values: Tensor
    residuals: Tensor
    weights: Tensor


def ritz(run: Tridiagonal, exhausted: bool) -> Ritz:
    """Those of all steps of the run but the last, which tells the residuals; of all where the space is `exhausted`."""
    kept = run.diagonal.numel() - (0 if exhausted else 1)
    matrix = torch.diag(run.diagonal[:kept])
    if kept > 1:
        matrix += torch.diag(run.off_diagonal[: kept - 1], 1) + torch.diag(run.off_diagonal[: kept - 1], -1)
    values, vectors = torch.linalg.eigh(matrix)
    if not kept:
        return Ritz(values, values, values)
    coupling = 0.0 if exhausted else float(run.off_diagonal[-1])
    return Ritz(values, coupling * vectors[-1].abs(), vectors[0].square())


def exhausted(run: Tridiagonal, steps: int, size: int) -> bool:
    """Whether a run of up to `steps` steps has nothing left of a space of `size` dimensions that its start reaches."""
    return run.diagonal.numel() < steps or run.diagonal.numel() == size
