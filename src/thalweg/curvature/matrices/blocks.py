"""Diagonal blocks of a curvature matrix: one for each layer, parameter, or pattern of names."""

from __future__ import annotations

from torch import Tensor

from thalweg.curvature.matrices.grouping import By, grouped
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective


def blocks(
    of: AbstractObjective | SymmetricOperator, by: By = "layer", theta: Tensor | None = None
) -> dict[str, SymmetricOperator]:
    """The diagonal blocks of a matrix by name, in the order of θ; each product costs one with the whole matrix.

    Parameters
    ----------
    of: an operator of an objective (`hessian(obj)`, `ggn(obj)`, `fisher(obj)`, what is made of them), or an
        objective, for its Hessian at `theta`.
    by: "layer": the parameters that one module holds itself, under the module's name ("own parameters" for the model's
        own); "parameter": each under its name; else patterns, as in `layer_groups`: "backbone" and "backbone.*" both
        mean all of the backbone, a parameter belongs to the first pattern that matches, and those of none are left out.

    Raises
    ------
    InvalidArgument: an operator that does not know its parameters, a pattern that matches nothing or nothing that is
        left, or `theta` beside an operator.
    """
    operator = hessian(of, theta) if isinstance(of, AbstractObjective) else of
    if operator is of and theta is not None:
        raise InvalidArgument(f"theta: {operator.name} is at a point already, make it at the other one")
    if not operator.blocks:
        raise InvalidArgument(
            f"{operator.name} does not know which parameters it is of: use restricted(slice or indices)"
        )
    groups = grouped(operator.blocks, by)
    return {name: operator.restricted(group, f"{operator.name} in {name}") for name, group in groups.items()}
