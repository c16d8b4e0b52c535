"""Running a rule over one tensor in place: compiled in one pass over memory, or block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from thalweg.optim.driver.code import code_of
from thalweg.optim.driver.kernel import Kernel, kernel
from thalweg.optim.driver.rule import Rule, State

Advance: TypeAlias = Callable[[Tensor, Tensor, State], object]
"""Updates a flat point and its state in place from the gradient: (point, gradient, state)."""

BLOCK = 262_144
"""Elements updated at once without a compiler, so that what lies between two operations stays in the cache."""


def in_place(p: Tensor, g: Tensor, state: State, advance: Advance) -> None:
    """Apply `advance` to a tensor of any shape and layout, and to its state."""
    if p.is_contiguous() and all(t is None or t.is_contiguous() for t in (g, *state)):
        advance(p.view(-1), g.view(-1), [None if s is None else s.view(-1) for s in state])
        return
    # As p lies in memory, which for images is often not in the order of its axes.
    order = sorted(range(p.dim()), key=lambda axis: -p.stride(axis))
    point, gradient = (t.permute(order).reshape(-1) for t in (p, g))
    rest = [None if s is None else s.permute(order).reshape(-1) for s in state]
    advance(point, gradient, rest)
    for tensor, written in zip((p, *state), (point, *rest), strict=True):
        if tensor is not None and written is not None and written.data_ptr() != tensor.data_ptr():
            # It has gaps, or lies otherwise than p: reshape made a copy.
            tensor.permute(order).copy_(written.view([p.shape[axis] for axis in order]))


class Large:
    """A parameter that is stepped by itself, with its state; the flat views of both are taken once."""

    def __init__(self, p: Tensor, state: State) -> None:
        self.p, self.state = p, state
        plain = not hasattr(p, "to_local") and all(t is None or t.is_contiguous() for t in (p, *state))
        self._flat = p.detach().view(-1) if plain else None
        self._flat_state = [None if s is None else s.view(-1) for s in state] if plain else []

    def step(self, g: Tensor, advance: Advance) -> None:
        """Apply `advance` to the parameter and its state, for a strided gradient of any type and order in memory."""
        if self._flat is not None and g.dtype is self._flat.dtype and g.is_contiguous():
            advance(self._flat, g.view(-1), self._flat_state)
            return
        tensors = [self.p.detach(), g.to(self.p.dtype), *self.state]
        if hasattr(self.p, "to_local"):
            tensors = [_local(tensor) for tensor in tensors]
        point, g, *state = cast(list[Tensor], tensors)
        in_place(point, g, state, advance)


def _local(tensor: Any) -> Tensor | None:
    """This process's shard of a tensor that is sharded, any other tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def by_blocks(
    rule: Rule, point: Tensor, g: Tensor, state: State, scalars: Sequence[float], maximize: bool
) -> None:
    """One step of flat tensors in place, without a compiler."""
    if point.numel() > BLOCK:
        for start in range(0, point.numel(), BLOCK):
            block = slice(start, start + BLOCK)
            held = [None if s is None else s[block] for s in state]
            by_blocks(rule, point[block], g[block], held, scalars, maximize)
        return
    moved, news = rule.advance(point, -g if maximize else g, state, scalars)
    point.copy_(moved)
    write(state, news)


def write(state: State, news: State) -> None:
    """Put the next state in the place of the last one, where it is another."""
    for old, new in zip(state, news, strict=True):
        if new is not old and old is not None and new is not None:
            old.copy_(new)


def rule_kernel(rule: Rule, kept: Sequence[bool], like: Tensor, count: int, maximize: bool) -> Kernel | None:
    """The rule compiled for flat tensors of the type and device of `like`; None without a compiler.

    Called with [point, gradient, *state, scalars]: of the state what is `kept`, the `count` scalars as one vector
    in float64.
    """

    def step(point: Tensor, g: Tensor, *rest: Tensor) -> None:
        *tensors, scalars = rest
        given = iter(tensors)
        state = [next(given) if there else None for there in kept]
        moved, news = rule.advance(point, -g if maximize else g, state, scalars.unbind())
        point.copy_(moved)
        write(state, news)

    code = code_of([rule.update, rule.evaluation_point, rule.iterate])
    # Long enough to be worth threads: the compiler decides by the example.
    flat = [torch.zeros(1 << 20, dtype=like.dtype, device=like.device) for _ in range(2 + sum(kept))]
    scalars = torch.zeros(count, dtype=torch.float64, device=like.device)
    dynamic = [{0: "length"} for _ in flat]
    climb = "-maximize" if maximize else ""
    return kernel(
        f"{rule.name}{climb}", lambda: step, [*flat, scalars], [*dynamic, {}], f"{list(kept)}{count}{code}"
    )
