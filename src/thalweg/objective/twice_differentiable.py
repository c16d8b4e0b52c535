"""Layers whose second derivative PyTorch computes slowly, computed better while a graph is built to be kept.

PyTorch differentiates a convolution's backward pass by convolutions with batch and channels exchanged, for which
its CPU library has no fast path, and evaluation-mode batch-norm's by a formula meant for training, ten passes over the
activations. Values and first derivatives are those of PyTorch up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

aten: Any = torch.ops.aten
Geometry: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int], bool, Sequence[int], int]
"""A convolution's stride, padding, dilation, whether it is transposed, output padding and groups."""


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, convolutions and evaluation-mode batch-norm record graphs that are cheap to differentiate again."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        better = _BETTER.get(func)
        result = NotImplemented if better is None else better(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def _convolution(axes: int) -> Callable[..., Any]:
    def convolve(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Any:
        if isinstance(padding, str) or input.dim() != axes + 2:
            return NotImplemented

        def each(value: int | Sequence[int]) -> Sequence[int]:
            return [value] * axes if isinstance(value, int) else list(value) * (axes // len(value))

        geometry = (each(stride), each(padding), each(dilation), False, [0] * axes, groups)
        output = cast(Tensor, _Convolution.apply(input, weight, geometry))
        return output if bias is None else output + bias.view(-1, *[1] * axes)

    return convolve


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return aten.convolution(x, weight, None, *geometry)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        return (*_ConvolutionBackward.apply(slopes[0], x, weight, ctx.geometry, wanted), None)  # pyright: ignore


class _ConvolutionBackward(torch.autograd.Function):
    """(∂/∂x, ∂/∂w) of ⟨s, w ∗ x⟩: bilinear in each pair of s, x and w, and so are its derivatives."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(slope, x, weight)
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        return _backward(slope, x, weight, geometry, *wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dx, dw = directions
        slope, x, weight = ctx.saved_tensors
        geometry = ctx.geometry
        to_slope, to_x, to_weight = ctx.needs_input_grad[:3]
        of_slope = of_x = of_weight = None
        if to_slope and dx is not None:
            of_slope = aten.convolution(dx, weight, None, *geometry)
        if to_slope and dw is not None:
            other = aten.convolution(x, dw, None, *geometry)
            of_slope = other if of_slope is None else of_slope.add_(other)
        if to_x and dw is not None:
            of_x = _backward(slope, x, dw, geometry, True, False)[0]
        if to_weight and dx is not None:
            of_weight = _backward(slope, dx, weight, geometry, False, True)[1]
        return of_slope, of_x, of_weight, None, None


def _backward(
    slope: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, to_x: bool, to_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    found = aten.convolution_backward(slope, x, weight, None, *geometry, (to_x, to_weight, False))
    return found[0], found[1]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training or running_mean is None or running_var is None or input.dim() < 2:
        return NotImplemented
    scale = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (1, -1, *[1] * (input.dim() - 2))
    return input * scale.view(shape) + shift.view(shape)


def _gelu(input: Tensor, approximate: str = "none") -> Any:
    return _Gelu.apply(input) if approximate == "none" else NotImplemented


class _Gelu(torch.autograd.Function):
    """x Φ(x), with the derivative Φ + x φ computed once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, aten.gelu_backward(torch.ones_like(x), x))
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return _GeluBackward.apply(slopes[0], *ctx.saved_tensors)


class _GeluBackward(torch.autograd.Function):
    """The slope times the first derivative; with the second one, (2 − x²) φ, computed once."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, first: Tensor) -> Tensor:
        square = x.square()
        second = torch.exp(-0.5 * square).mul_(2 - square).div_(math.sqrt(2 * math.pi)).mul_(slope)
        ctx.save_for_backward(first, second)
        return slope * first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, second = ctx.saved_tensors
        return directions[0] * first, directions[0] * second, None


_BETTER: dict[Any, Callable[..., Any]] = {
    torch.conv1d: _convolution(1),
    torch.conv2d: _convolution(2),
    torch.conv3d: _convolution(3),
    F.batch_norm: _batch_norm,
    F.gelu: _gelu,
}
