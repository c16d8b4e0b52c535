"""Running a rule over one tensor in place: compiled in one pass over memory, or block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from thalweg.optim.kernel import Kernel, code_of, kernel
from thalweg.optim.rule import Rule

Advance: TypeAlias = Callable[[Tensor, Tensor, dict[str, Tensor]], object]
"""Updates a flat point and its state in place from the gradient: (point, gradient, state)."""

BLOCK = 262_144
"""Elements updated at once without a compiler, so that what lies between two operations stays in the cache."""


def in_place(p: Tensor, g: Tensor, state: Mapping[str, Tensor], advance: Advance) -> None:
    """Apply `advance` to a tensor of any shape and layout, and to its state."""
    # As p lies in memory, which for images is often not in the order of its axes.
    order = sorted(range(p.dim()), key=lambda axis: -p.stride(axis))
    tensors = [p, g, *state.values()]
    flat = [tensor.permute(order).reshape(-1) for tensor in tensors]
    point, gradient, *rest = flat
    advance(point, gradient, dict(zip(state, rest, strict=True)))
    for tensor, written in zip((p, *state.values()), (point, *rest), strict=True):
        if written.data_ptr() != tensor.data_ptr():
            # It has gaps, or lies otherwise than p: reshape made a copy.
            tensor.permute(order).copy_(written.view([p.shape[axis] for axis in order]))


def by_blocks(
    rule: Rule,
    point: Tensor,
    g: Tensor,
    state: Mapping[str, Tensor],
    scalars: Sequence[float],
    maximize: bool,
) -> None:
    """One step of flat tensors in place, without a compiler."""
    for start in range(0, point.numel(), BLOCK):
        block = slice(start, start + BLOCK)
        gradient = -g[block] if maximize else g[block]
        held = {name: tensor[block] for name, tensor in state.items()}
        moved, changed = rule.advance(point[block], gradient, held, scalars)
        point[block].copy_(moved)
        for name, new in changed.items():
            held[name].copy_(new)


def rule_kernel(rule: Rule, names: Sequence[str], like: Tensor, count: int, maximize: bool) -> Kernel | None:
    """The rule compiled for flat tensors of the type and device of `like`; None without a compiler.

    Called with [point, gradient, *state, scalars], the `count` scalars as one vector in float64.
    """

    def step(point: Tensor, g: Tensor, *rest: Tensor) -> None:
        *tensors, scalars = rest
        state = dict(zip(names, tensors, strict=True))
        moved, changed = rule.advance(point, -g if maximize else g, state, scalars.unbind())
        point.copy_(moved)
        for name, new in changed.items():
            state[name].copy_(new)

    code = code_of([rule.update, rule.evaluation_point, rule.iterate])
    # Long enough to be worth threads: the compiler decides by the example.
    flat = [torch.zeros(1 << 20, dtype=like.dtype, device=like.device)] * (2 + len(names))
    scalars = torch.zeros(count, dtype=torch.float64, device=like.device)
    dynamic = [{0: "length"} for _ in flat]
    climb = "-maximize" if maximize else ""
    return kernel(f"{rule.name}{climb}", step, [*flat, scalars], [*dynamic, {}], f"{names}{count}{code}")
