"""Layers that are linear in their input and in their weight: convolutions and matrix products.

PyTorch differentiates a convolution's backward pass by convolutions with batch and channels exchanged, for which
its CPU library has no fast path. The derivatives of a bilinear layer are bilinear again, in each pair of input,
weight and slope, and so are theirs: the layer itself and its adjoints serve for both orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.objective.twice_differentiable.asked import asked

aten: Any = torch.ops.aten
Slopes: TypeAlias = tuple[Tensor | None, Tensor | None, Tensor | None]


class Bilinear(Protocol):
    """The layer b + w∗x, for an input x, a weight w whose first axis counts the outputs, and a bias b (outputs,)."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """b + w∗x."""
        ...

    def add(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """out + w∗x, for which `out` may be overwritten."""
        ...

    def slopes(self, slope: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Slopes:
        """The derivatives of ⟨slope, b + w∗x⟩ with respect to x, w and b, those that are wanted."""
        ...

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """The bias alone, shaped like the output `like`."""
        ...


@dataclass(frozen=True)
class Convolution:
    """A convolution of inputs (batch, channels, ...), whose sides have the same number of axes."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """b + w∗x."""
        return aten.convolution(x, weight, bias, *self._geometry)

    def add(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """out + w∗x."""
        return out.add_(self(x, weight, None))

    def slopes(self, slope: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Slopes:
        """The derivatives of ⟨slope, b + w∗x⟩ with respect to x, w and b."""
        return aten.convolution_backward(slope, x, weight, [weight.shape[0]], *self._geometry, wanted)

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """The bias over the axes (batch, channels, ...)."""
        return bias.view(-1, *[1] * (like.dim() - 2)).expand_as(like)

    @property
    def _geometry(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, False, [0] * len(self.stride), self.groups


@dataclass(frozen=True)
class Linear:
    """Matrix products of inputs (..., features)."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """b + xwᵀ."""
        return torch.nn.functional.linear(x, weight, bias)

    def add(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """out + xwᵀ."""
        _rows(out).addmm_(_rows(x), weight.t())
        return out

    def slopes(self, slope: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Slopes:
        """The derivatives of ⟨slope, b + xwᵀ⟩ with respect to x, w and b."""
        rows = _rows(slope)
        return (
            slope @ weight if wanted[0] else None,
            rows.t() @ _rows(x) if wanted[1] else None,
            rows.sum(0) if wanted[2] else None,
        )

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """The bias on the last axis."""
        return bias.expand_as(like)


def _rows(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x.reshape(-1, x.shape[-1])


def bilinear(rule: Bilinear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """b + w∗x by `rule`, whose derivatives of first and second order are cheap."""
    return cast(Tensor, _Layer.apply(x, weight, bias, rule))


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rule: Bilinear) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rule = rule
        return rule(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        rule, wanted = ctx.rule, ctx.needs_input_grad[:3]
        if not torch.is_grad_enabled():
            return (*rule.slopes(slopes[0], x, weight, wanted), None)
        return (*_Adjoint.apply(slopes[0], x, weight, rule, wanted), None)  # pyright: ignore


class _Adjoint(torch.autograd.Function):
    """(∂/∂x, ∂/∂w, ∂/∂b) of ⟨s, b + w∗x⟩."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, rule: Bilinear, wanted: tuple[bool, bool, bool]
    ) -> Slopes:
        ctx.save_for_backward(slope, x, weight)
        ctx.set_materialize_grads(False)
        ctx.rule = rule
        found = rule.slopes(slope, x, weight, wanted)
        return found[0], found[1], found[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dx, dw, db = directions
        slope, x, weight = ctx.saved_tensors
        rule: Bilinear = ctx.rule
        to_slope, to_x, to_weight = asked(ctx, 3)
        of_slope = of_x = of_weight = None
        if to_slope and dw is not None:
            of_slope = rule(x, dw, db)
        elif to_slope and db is not None:
            of_slope = rule.spread(db, slope)
            of_slope = of_slope.contiguous() if dx is not None else of_slope
        if to_slope and dx is not None:
            of_slope = rule(dx, weight, None) if of_slope is None else rule.add(of_slope, dx, weight)
        if to_x and dw is not None:
            of_x = rule.slopes(slope, x, dw, (True, False, False))[0]
        if to_weight and dx is not None:
            of_weight = rule.slopes(slope, dx, weight, (False, True, False))[1]
        return of_slope, of_x, of_weight, None, None
