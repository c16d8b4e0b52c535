"""Diagonal blocks of a curvature matrix: one for each layer, parameter, or pattern of names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from torch import Tensor

from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, Block

By: TypeAlias = Literal["layer", "parameter"] | str | Sequence[str]
"""How parameters are put together: by module, each on its own, or by name patterns such as "layers.3" or "*.bias"."""


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
    groups = _groups(operator.blocks, by)
    return {name: operator.restricted(group, f"{operator.name} in {name}") for name, group in groups.items()}


def _groups(every: Sequence[Block], by: By) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    if by == "parameter":
        return {block.name: [block] for block in every}
    if by == "layer":
        for block in every:
            found.setdefault(block.name.rpartition(".")[0] or "own parameters", []).append(block)
        return found
    patterns = [by] if isinstance(by, str) else list(by)
    chosen = {
        block.name: next((pattern for pattern in patterns if _matches(pattern, block.name)), None)
        for block in every
    }
    for pattern in patterns:
        group = [block for block in every if chosen[block.name] == pattern]
        if not group:
            _refuse(pattern, every, chosen)
        found[pattern] = group
    if not found:
        raise InvalidArgument('by must be "layer", "parameter" or name patterns, got none')
    return found


def _matches(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _refuse(pattern: str, every: Sequence[Block], chosen: dict[str, str | None]) -> None:
    earlier = {chosen[block.name] for block in every if _matches(pattern, block.name)}
    if earlier:
        taken = ", ".join(repr(other) for other in sorted(filter(None, earlier)))
        raise InvalidArgument(
            f"by: all that {pattern!r} matches is taken by {taken}: write {pattern!r} before"
        )
    names = [block.name for block in every]
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise InvalidArgument(f'by: no parameter matches {pattern!r}, "layer" or "parameter"; there are {some}')
