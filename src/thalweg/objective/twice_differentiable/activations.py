"""Activations f(x) applied to each element, with f′ and f″ computed once for all vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.objective.twice_differentiable.asked import asked

Derivatives: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From x and f(x) to a derivative of f there."""


def activation(
    function: Callable[[Tensor], Tensor], first: Derivatives, second: Derivatives
) -> Callable[..., Any]:
    """`function` with its first two derivatives given; PyTorch's own where it is approximated or writes elsewhere."""

    def apply(input: Tensor, *, approximate: str = "none", **others: Any) -> Any:
        if approximate != "none" or others:
            return NotImplemented
        return cast(Tensor, _Activation.apply(input, function, first, second))

    return apply


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], first: Derivatives, second: Derivatives
    ) -> Tensor:
        y = function(x)
        ctx.save_for_backward(x, y, first(x, y))
        ctx.second = second
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        x, y, first = ctx.saved_tensors
        # Without a graph this is the last pass, and the second derivative would be for nothing.
        again = torch.is_grad_enabled()
        of_x = _Slope.apply(slopes[0], x, y, first, ctx.second) if again else slopes[0] * first
        return of_x, None, None, None


class _Slope(torch.autograd.Function):
    """s f′(x)."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, y: Tensor, first: Tensor, second: Derivatives) -> Tensor:
        ctx.save_for_backward(first, second(x, y).mul_(slope))
        return slope * first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, bent = ctx.saved_tensors
        to_slope, to_x = asked(ctx, 2)
        of_slope = directions[0] * first if to_slope else None
        return of_slope, directions[0] * bent if to_x else None, None, None, None


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()).div_(math.sqrt(2 * math.pi))


gelu = activation(
    F.gelu,
    lambda x, _: torch.special.ndtr(x).add_(x * _density(x)),
    lambda x, _: _density(x).mul_(2 - x.square()),
)
tanh = activation(torch.tanh, lambda _, y: 1 - y.square(), lambda _, y: (y.square() - 1).mul_(2 * y))
sigmoid = activation(torch.sigmoid, lambda _, y: y * (1 - y), lambda _, y: (y * (1 - y)).mul_(1 - 2 * y))
