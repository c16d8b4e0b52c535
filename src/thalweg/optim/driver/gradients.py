"""Gradients that an optimizer meets: not finite, sparse, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, NonfiniteGradient
from thalweg.optim.driver.rule import Group, Rule, State

Nonfinite: TypeAlias = Literal["pass", "skip", "raise"]


def may_step(groups: Sequence[Mapping[str, Any]], policy: Nonfinite) -> bool:
    """Whether to take the step: always with "pass"; with "skip" only if every gradient is finite.

    Raises NonfiniteGradient, naming the first parameter at fault, with "raise".
    """
    if policy == "pass":
        return True
    for index, group in enumerate(groups):
        for place, p in enumerate(group["params"]):
            if p.grad is None or finite(p.grad):
                continue
            if policy == "skip":
                return False
            named = group.get("param_names")
            name = named[place] if named else f"{place} of group {index}, shape {tuple(p.shape)}"
            raise NonfiniteGradient(
                f"gradient of parameter {name} is not finite: clip it, lower lr, or choose nonfinite='skip'"
            )
    return True


def finite(g: Tensor) -> bool:
    """Whether every entry is a finite number."""
    return bool(torch.isfinite(g.coalesce().values() if g.layout == torch.sparse_coo else g).all())


def check_layouts(groups: Sequence[Mapping[str, Any]], rule: Rule, name: str) -> None:
    """Raise InvalidArgument for a sparse gradient that the rule cannot use, before anything is changed."""
    for group in groups:
        for p in group["params"]:
            if p.grad is not None and p.grad.layout != torch.strided:
                sparse_or_dense(p.grad, rule, group, name)


def sparse_or_dense(g: Tensor, rule: Rule, group: Group, name: str) -> Tensor:
    """A sparse gradient as it is for rules that leave untouched entries alone, else dense if torch's rule takes it.

    Raises InvalidArgument for rules that move every entry at every step.
    """
    if g.layout == torch.sparse_coo and rule.idle_at_zero(group):
        return g.coalesce()
    if rule.takes_sparse:
        return g.to_dense()
    raise InvalidArgument(
        f"{name} does not take sparse gradients, that of a parameter of shape {tuple(g.shape)} is: use sparse=False in "
        f"the embedding, or SGD or AdaGrad"
    )


def update_entries(
    rule: Rule, p: Tensor, g: Tensor, state: State, scalars: Sequence[float], maximize: bool
) -> None:
    """One step of the entries that a coalesced sparse gradient has."""
    places = tuple(g.indices())
    values = g.values().neg() if maximize else g.values()
    held = [None if s is None else s[places] for s in state]
    point, news = rule.advance(p[places], values, held, scalars)
    p.index_put_(places, point)
    for tensor, old, new in zip(state, held, news, strict=True):
        if tensor is not None and new is not None and new is not old:
            tensor.index_put_(places, new)
