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

from thalweg.objective.twice_differentiable.activations import Gelu, Sigmoid, Tanh
from thalweg.objective.twice_differentiable.attention import attention
from thalweg.objective.twice_differentiable.batch_norm import affine, along_channels
from thalweg.objective.twice_differentiable.bilinear import Bilinear, Convolution, Linear, bilinear
from thalweg.objective.twice_differentiable.layer_norm import layer_norm
from thalweg.objective.twice_differentiable.weight_norm import weight_norm

_WEIGHT_NORM: Any = getattr(torch, "_weight_norm")  # noqa: B009 - what torch's two modules for it call


@dataclass(frozen=True)
class _Made:
    """The output of a bilinear layer and what it was made of, with how often each was written into by then."""

    output: Tensor
    rule: Bilinear
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    versions: tuple[int, ...]

    def gives(self, channels: Tensor) -> bool:
        """Whether `channels`, a batch-norm's input, is this very output, all unchanged, with a channel for each."""
        alike = isinstance(self.rule, Convolution) or channels.dim() == 2
        unwatched = not self.output._backward_hooks
        return self.output is channels and alike and unwatched and self.versions == self._versions()

    def _versions(self) -> tuple[int, ...]:
        parts = (self.output, self.x, self.weight, *([] if self.bias is None else [self.bias]))
        return tuple(part._version for part in parts)


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, layers are differentiated twice better: see the parts of this package for which, and how.

    Tensors of one real floating type are served, outside of autocast; PyTorch computes the rest.

    cheaper: False leaves all to PyTorch but what it computes wrongly.
    channels_last: lay out images so that channels are innermost, which the CPU's convolutions take without copying.
        A view that takes them to be elsewhere raises RuntimeError.
    """

    def __init__(self, *, cheaper: bool = True, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self._last: _Made | None = None
        self._better: dict[Any, Callable[..., Any]] = {_WEIGHT_NORM: weight_norm}
        if channels_last:
            self._better |= {torch.as_strided: _refuse, Tensor.as_strided: _refuse}
        if cheaper:
            self._better |= {
                F.linear: self._linear,
                torch.conv1d: self._convolution(1),
                torch.conv2d: self._convolution(2),
                torch.conv3d: self._convolution(3),
                F.batch_norm: self._batch_norm,
                F.layer_norm: layer_norm,
                F.scaled_dot_product_attention: attention,
                F.gelu: Gelu(),
                torch.tanh: Tanh(),
                Tensor.tanh: Tanh(),
                torch.sigmoid: Sigmoid(),
                Tensor.sigmoid: Sigmoid(),
            }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        better = self._better.get(func)
        result = better(*args, **kwargs) if better and _served(*args, *kwargs.values()) else NotImplemented
        return func(*args, **kwargs) if result is NotImplemented else result

    def __exit__(self, *raised: Any) -> None:
        # What it was made of is part of a graph, which must not outlive its use.
        self._last = None
        super().__exit__(*raised)

    def _make(self, rule: Bilinear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output = bilinear(rule, x, weight, bias)
        parts = (output, x, weight, *([] if bias is None else [bias]))
        self._last = _Made(output, rule, x, weight, bias, tuple(part._version for part in parts))
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
                several = value if isinstance(value, Sequence) else [int(value)]
                return list(several) * (axes // len(several))

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


def _served(*arguments: Any) -> bool:
    """Whether the tensors among them, masks aside, are of one real floating type that stays what it is."""
    found = [one for one in arguments if isinstance(one, Tensor) and one.dtype != torch.bool]
    kinds = {one.dtype for one in found}
    one_kind = len(kinds) == 1 and next(iter(kinds)).is_floating_point
    return one_kind and not torch.is_autocast_enabled(found[0].device.type)


def _refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("as_strided takes strides for granted that images with channels innermost have not")
