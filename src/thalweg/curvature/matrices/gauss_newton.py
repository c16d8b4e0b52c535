"""The generalized Gauss-Newton matrix of an objective at a point."""

from __future__ import annotations

from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.objective import AbstractObjective, require_objective


def ggn(obj: AbstractObjective, theta: Tensor | None = None) -> SymmetricOperator:
    """The generalized Gauss-Newton matrix of `obj` at θ: JᵀHₗJ with Hₗ the loss's Hessian in the output.

    It is positive semi-definite for a convex loss, and equals the Hessian where the model is linear in θ
    (Schraudolph 2002). For torch's cross-entropy, squared error and binary cross-entropy with logits Hₗ is applied in
    closed form, a few rows of the output at a time. It is zero for nll_loss, which is linear in the log-probabilities
    that a model puts out: for that `fisher(obj)` is the Gauss-Newton matrix in the logits.
    """
    require_objective(obj)
    here = obj.at(theta)
    return SymmetricOperator(
        here.ggnvp,
        obj.size,
        dtype=obj.dtype,
        device=obj.device,
        name="Gauss-Newton matrix",
        here=here,
        blocks=obj.blocks,
    )
