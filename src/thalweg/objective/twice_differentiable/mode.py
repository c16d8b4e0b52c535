"""Layers whose second derivative PyTorch computes slowly, computed better while a graph is built to be kept.

Values and first derivatives are those of PyTorch up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from thalweg.objective.twice_differentiable.activations import gelu, sigmoid, tanh
from thalweg.objective.twice_differentiable.attention import attention
from thalweg.objective.twice_differentiable.batch_norm import affine, along_channels
from thalweg.objective.twice_differentiable.bilinear import Bilinear, Convolution, Linear, bilinear
from thalweg.objective.twice_differentiable.layer_norm import layer_norm


@dataclass(frozen=True)
class _Made:
    """The output of a bilinear layer and what it was made of."""

    output: Tensor
    version: int
    rule: Bilinear
    x: Tensor
    weight: Tensor
    bias: Tensor | None

    def gives(self, channels: Tensor) -> bool:
        """Whether `channels`, a batch-norm's input, is this very output, unchanged, with a channel for each output."""
        alike = isinstance(self.rule, Convolution) or channels.dim() == 2
        return self.output is channels and self.version == channels._version and alike


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, convolutions, matrix products, norms and smooth activations are differentiated better.

    channels_last: lay out images so that channels are innermost, which the CPU's convolutions take without copying.
    """

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self._last: _Made | None = None
        self._better: dict[Any, Callable[..., Any]] = {
            F.linear: self._linear,
            torch.conv1d: self._convolution(1),
            torch.conv2d: self._convolution(2),
            torch.conv3d: self._convolution(3),
            F.batch_norm: self._batch_norm,
            F.layer_norm: layer_norm,
            F.scaled_dot_product_attention: attention,
            F.gelu: gelu,
            torch.tanh: tanh,
            Tensor.tanh: tanh,
            torch.sigmoid: sigmoid,
            Tensor.sigmoid: sigmoid,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        better = self._better.get(func)
        result = NotImplemented if better is None else better(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result

    def __exit__(self, *raised: Any) -> None:
        # What it was made of is part of a graph, which must not outlive its use.
        self._last = None
        super().__exit__(*raised)

    def _make(self, rule: Bilinear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output = bilinear(rule, x, weight, bias)
        self._last = _Made(output, output._version, rule, x, weight, bias)
        return output

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return self._make(Linear(), input, weight, bias) if weight.dim() == 2 else NotImplemented

    def _convolution(self, axes: int) -> Callable[..., Any]:
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

            if (
                self.channels_last
                and axes == 2
                and input.device.type == "cpu"
                and input.dtype == torch.float32
            ):
                input = input.contiguous(memory_format=torch.channels_last)
            rule = Convolution(each(stride), each(padding), each(dilation), groups)
            return self._make(rule, input, weight, bias)

        return convolve

    def _batch_norm(
        self,
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
        scale, shift = affine(running_mean, running_var, weight, bias, eps)
        last, self._last = self._last, None
        if last is not None and last.gives(input):
            # The layer's own output is left to whoever else asks for it.
            inner = shift if last.bias is None else shift + scale * last.bias
            rows = scale.view(-1, *[1] * (last.weight.dim() - 1))
            return bilinear(last.rule, last.x, rows * last.weight, inner)
        return input * along_channels(scale, input.dim()) + along_channels(shift, input.dim())
