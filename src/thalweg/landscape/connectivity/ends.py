"""The two ends of a path, and the objective that is fair to both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, BatchNorm, Objective
from thalweg.objective.preserved import batchnorms

End: TypeAlias = Tensor | nn.Module | Mapping[str, Any]
"""A point (n,), a model of the objective's architecture, or its state dictionary."""


def as_point(obj: AbstractObjective, end: End, name: str) -> Tensor:
    """θ (n,) of an end.

    Raises InvalidArgument with the first difference, or ShapeMismatch, where it does not fit the objective.
    """
    if isinstance(end, Tensor):
        return obj.checked_point(end)
    if not isinstance(end, (nn.Module, Mapping)):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass other things
        raise InvalidArgument(
            f"{name} must be a tensor ({obj.size},), a model or its state dictionary, got {type(end).__name__}"
        )
    if not isinstance(obj, Objective):
        raise InvalidArgument(f"{name} must be a tensor ({obj.size},): {obj.name} has no model")
    state = end.state_dict() if isinstance(end, nn.Module) else dict(end)
    own = obj.model.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        if key not in own:
            raise InvalidArgument(f"{name} holds {key}, which the objective's model has not")
        if value.shape != own[key].shape:
            raise InvalidArgument(
                f"{name}: {key} has shape {tuple(value.shape)}, that of the objective's model {tuple(own[key].shape)}"
            )
    return obj.flatten(state)


def finite_point(obj: AbstractObjective, end: End, name: str) -> Tensor:
    """`as_point`, which raises InvalidArgument with the first parameter that holds NaN or infinite entries, too."""
    theta = as_point(obj, end, name)
    for block in obj.blocks:
        if not bool(theta[block.span].isfinite().all()):
            raise InvalidArgument(f"{name} must be finite, got NaN or infinite entries in {block.name}")
    return theta


def between_models(obj: AbstractObjective, batchnorm: BatchNorm | None) -> AbstractObjective:
    """The objective with the batch-norm statistics that are asked for; re-estimated at every point when None.

    Running statistics belong to one point: between two models neither's are right.
    """
    if not isinstance(obj, Objective):
        return obj
    if batchnorm is None:
        batchnorm = "recalibrate" if batchnorms(obj.model) and obj.batchnorm == "eval" else obj.batchnorm
    return obj.with_batchnorm(batchnorm)
