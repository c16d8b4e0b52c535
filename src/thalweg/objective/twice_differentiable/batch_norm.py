"""Batch-norm in evaluation mode, an affine map of each channel; after a bilinear layer, part of that layer.

PyTorch differentiates it by a formula meant for training, ten passes over the activations.
"""

from __future__ import annotations

from torch import Tensor


def affine(
    running_mean: Tensor, running_var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Scale and shift (channels,) of batch-norm with these statistics."""
    scale = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    return scale, -running_mean * scale if bias is None else bias - running_mean * scale


def along_channels(values: Tensor, axes: int) -> Tensor:
    """Values (channels,) in the shape (1, channels, 1, ...) of so many axes."""
    return values.view(1, -1, *[1] * (axes - 2))
