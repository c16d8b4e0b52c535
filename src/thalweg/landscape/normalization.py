"""Scaling a random direction to the weights it perturbs, so that slices of different networks compare.

A ReLU network computes the same function when one layer is scaled by a factor and the next by its inverse,
so an unscaled direction makes the same minimum look sharp or flat at will.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective import Block

Normalization: TypeAlias = Literal["filter", "layer", "model", "none"]


def normalized(
    direction: Tensor, point: Tensor, blocks: Sequence[Block], normalization: Normalization
) -> Tensor:
    """`direction` (n,) scaled to `point` (n,) piece by piece; a new vector.

    "filter": each filter (output channel of a convolution, row of a matrix, vector of an embedding) gets the norm
    of the point's; biases and the parameters of normalization layers get zero, as does a filter that is zero
    (Li et al. 2018, section 4). "layer": each parameter gets the norm of the point's; "model": the whole
    vector; "none": unit length.

    Raises
    ------
    InvalidArgument: an unknown normalization, or nothing is left of the direction.
    """
    if normalization not in get_args(Normalization):
        raise InvalidArgument(
            f"normalization must be one of {', '.join(get_args(Normalization))}, got {normalization!r}"
        )
    if normalization == "none":
        return direction / direction.norm()
    if normalization == "model":
        scaled = direction * (point.norm() / direction.norm())
    else:
        scaled = torch.zeros_like(direction)
        for block in blocks:
            scaled[block.span] = _scaled_block(direction[block.span], point[block.span], block, normalization)
    if not bool(scaled.any()):
        raise InvalidArgument(
            f'normalization="{normalization}" leaves nothing of the direction here (it zeroes one-dimensional '
            'parameters and those that are zero themselves): use normalization="none"'
        )
    return scaled


def _scaled_block(direction: Tensor, point: Tensor, block: Block, normalization: Normalization) -> Tensor:
    if normalization == "layer":
        rows = 1
    elif block.kind == "vector":
        return torch.zeros_like(direction)
    else:
        rows = block.shape[0]
    filters, weights = direction.view(rows, -1), point.view(rows, -1)
    lengths = filters.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
    return (filters / lengths * weights.norm(dim=1, keepdim=True)).reshape(-1)
