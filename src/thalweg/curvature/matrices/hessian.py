"""The Hessian of an objective at a point."""

from __future__ import annotations

from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.objective import AbstractObjective, require_objective


def hessian(obj: AbstractObjective, theta: Tensor | None = None) -> SymmetricOperator:
    """The Hessian of `obj` at θ (n,), the objective's own point when None."""
    require_objective(obj)
    here = obj.at(theta)
    return SymmetricOperator(
        here.hvp,
        obj.size,
        dtype=obj.dtype,
        device=obj.device,
        name="Hessian",
        here=here,
        blocks=obj.blocks,
    )
