"""An update rule: one pure function of tensors, run on models and on surfaces alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

Scalar: TypeAlias = float | Tensor
"""A number, or a tensor that broadcasts against the point: one value for each of several rates."""
State: TypeAlias = Sequence[Tensor | None]
"""A rule's state in the order of its names; None for what a variant does not keep."""
Group: TypeAlias = Mapping[str, Any]
"""Hyperparameters by name, as a parameter group of torch's optimizers holds them."""

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Rule:
    """An elementwise update rule, written once.

    Attributes
    ----------
    name: what the rule is called in lists.
    update: (θ, g, *state, *scalars) → (θ', *state'), tensors of one shape, pure; `state` in the order of
        `state`, None for what a variant does not keep, and then None is returned for it. A state that is
        returned as the same object is not written.
    scalars: (t, group, memory) → (scalars, memory'): what does not depend on the element, computed once per
        step in double precision; t counts steps from 1. `memory` are numbers carried from step to step.
    state: names of the state tensors, each of the parameter's shape and starting at zero; torch's names
        where torch has the rule. `initial` gives other starts: name → (θ, group) → tensor.
    memory: the first memory.
    evaluation_point: (θ, *state, mixing) → y, where the rule wants its gradient, if not at θ.
    iterate: (y, *state, mixing) → θ, its inverse. `mixing` is the entry "mixing" of the memory.
    keeps: which of `state` a group needs; all by default.
    idle_at_zero: whether a zero gradient leaves θ and state as they are, so that a sparse gradient needs
        only its own entries updated.
    takes_sparse: whether sparse gradients are taken at all, as torch does.
    """

    name: str
    update: Callable[..., tuple[Any, ...]]
    scalars: Callable[[int, Group, dict[str, float]], tuple[tuple[float, ...], dict[str, float]]]
    state: tuple[str, ...] = ()
    initial: Mapping[str, Callable[[Tensor, Group], Tensor]] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    evaluation_point: Callable[..., Tensor] | None = None
    iterate: Callable[..., Tensor] | None = None
    keeps: Callable[[Group], tuple[str, ...]] | None = None
    idle_at_zero: Callable[[Group], bool] = lambda group: False
    takes_sparse: bool = False

    def kept(self, group: Group) -> tuple[str, ...]:
        """Names of the state tensors that these hyperparameters need."""
        return self.state if self.keeps is None else self.keeps(group)

    def begin(self, name: str, theta: Tensor, group: Group) -> Tensor:
        """State `name` before the first step, shaped and laid out like θ."""
        if name in self.initial:
            return self.initial[name](theta, group)
        return torch.zeros_like(theta, memory_format=torch.preserve_format)

    def step_scalars(
        self, t: int, group: Group, memory: dict[str, float]
    ) -> tuple[tuple[float, ...], dict[str, float]]:
        """All that `advance` needs for step t beside tensors: scalars, then mixing before and after if used."""
        scalars, after = self.scalars(t, group, memory)
        if self.evaluation_point is not None:
            scalars = (*scalars, memory["mixing"], after["mixing"])
        return scalars, after

    def advance(
        self, point: Tensor, g: Tensor, state: State, scalars: Sequence[Scalar]
    ) -> tuple[Tensor, State]:
        """One step from where the gradient was taken: the next such point and the next state.

        `point` is θ, or the evaluation point of rules that have one; `state` has a place for each of the rule's
        names. Half precision is computed in float32 and rounded once.
        """
        if point.dtype in HALF:
            wide = [None if s is None else s.float() for s in state]
            moved, news = self.advance(point.float(), g.float(), wide, scalars)
            return moved.to(point.dtype), [
                old if new is before or old is None or new is None else new.to(old.dtype)
                for old, before, new in zip(state, wide, news, strict=True)
            ]
        if self.evaluation_point is None or self.iterate is None:
            theta, *news = self.update(point, g, *state, *scalars)
            return theta, news
        *scalars, before, after = scalars
        theta, *news = self.update(self.iterate(point, *state, before), g, *state, *scalars)
        return self.evaluation_point(theta, *news, after), news

    def exchanged(self, point: Tensor, state: State, mixing: float, *, to_iterate: bool) -> Tensor:
        """The iterate from the evaluation point, or the other way round, in the point's type."""
        move = self.iterate if to_iterate else self.evaluation_point
        if move is None:
            return point
        if point.dtype in HALF:
            wide = [None if s is None else s.float() for s in state]
            return move(point.float(), *wide, mixing).to(point.dtype)
        return move(point, *state, mixing)


def l2(g: Tensor, theta: Tensor, weight_decay: Scalar) -> Tensor:
    """The gradient with that of an L2 penalty, g + λθ; g itself where λ is known to be zero."""
    if not isinstance(weight_decay, Tensor) and weight_decay == 0:
        return g
    return g + weight_decay * theta


def rate(group: Group) -> float:
    """The learning rate η as a number, which schedulers may have made a tensor."""
    return float(group["lr"])
