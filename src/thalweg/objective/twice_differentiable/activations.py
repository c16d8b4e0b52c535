"""Activations y = f(x) of each element, of which the second derivative is computed once for all vectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.objective.twice_differentiable.asked import asked

aten: Any = torch.ops.aten


class Activation(ABC):
    """f, by what its derivatives are computed from: no more than that is kept in a graph."""

    def __call__(self, input: Tensor, *, approximate: str = "none", **others: Any) -> Any:
        """f(input); left to PyTorch where it is approximated or written elsewhere."""
        if approximate != "none" or others:
            return NotImplemented
        return cast(Tensor, _Activation.apply(input, self))

    @abstractmethod
    def value(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """y, and what is kept: x or y, by which f′ is differentiated again, and what else is worth it."""

    @abstractmethod
    def pull(self, slope: Tensor, *kept: Tensor) -> Tensor:
        """slope · f′(x)."""

    @abstractmethod
    def bend(self, *kept: Tensor) -> Tensor:
        """The derivative of f′ with respect to what is kept first, in memory of its own."""


class Gelu(Activation):
    """x Φ(x), whose first derivative is too dear to be computed twice."""

    def value(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x Φ(x); x and Φ + x φ."""
        return F.gelu(x), (x, aten.gelu_backward(torch.ones_like(x), x))

    def pull(self, slope: Tensor, *kept: Tensor) -> Tensor:
        """slope · (Φ + x φ)."""
        return slope * kept[1]

    def bend(self, *kept: Tensor) -> Tensor:
        """(2 − x²) φ."""
        square = kept[0].square()
        return torch.exp(-0.5 * square).mul_(2 - square).div_(math.sqrt(2 * math.pi))


class Tanh(Activation):
    """tanh, whose derivatives are polynomials of it."""

    def value(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """y = tanh x; y."""
        y = torch.tanh(x)
        return y, (y,)

    def pull(self, slope: Tensor, *kept: Tensor) -> Tensor:
        """slope · (1 − y²)."""
        return aten.tanh_backward(slope, kept[0])

    def bend(self, *kept: Tensor) -> Tensor:
        """−2y."""
        return -2 * kept[0]


class Sigmoid(Activation):
    """1/(1 + e⁻ˣ), whose derivatives are polynomials of it."""

    def value(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """y = 1/(1 + e⁻ˣ); y."""
        y = torch.sigmoid(x)
        return y, (y,)

    def pull(self, slope: Tensor, *kept: Tensor) -> Tensor:
        """slope · y (1 − y)."""
        return aten.sigmoid_backward(slope, kept[0])

    def bend(self, *kept: Tensor) -> Tensor:
        """1 − 2y."""
        return 1 - 2 * kept[0]


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Activation) -> Tensor:
        y, kept = rule.value(x)
        ctx.save_for_backward(*kept)
        ctx.rule = rule
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        first, *rest = ctx.saved_tensors
        # Without a graph this is the last pass, and the second derivative would be for nothing.
        if not torch.is_grad_enabled():
            return ctx.rule.pull(slopes[0], first, *rest), None
        return _Slope.apply(slopes[0], first, ctx.rule, *rest), None


class _Slope(torch.autograd.Function):
    """s f′(x)."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, first: Tensor, rule: Activation, *rest: Tensor) -> Tensor:
        ctx.save_for_backward(rule.bend(first, *rest).mul_(slope), first, *rest)
        ctx.rule = rule
        return rule.pull(slope, first, *rest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        bent, *kept = ctx.saved_tensors
        to_slope, to_first = asked(ctx, 2)
        of_slope = ctx.rule.pull(directions[0], *kept) if to_slope else None
        return of_slope, directions[0] * bent if to_first else None, *[None] * len(kept)
