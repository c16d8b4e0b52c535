"""Scaling a random direction to the weights it perturbs, so that slices of different networks compare.

A ReLU network computes the same function when one layer is scaled by a factor and the next by its inverse,
so an unscaled direction makes the same minimum look sharp or flat at will.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.checks import one_of
from thalweg.errors import InvalidArgument
from thalweg.objective import Block

Normalization: TypeAlias = Literal["filter", "layer", "model", "none"]
Treatment: TypeAlias = Literal["filter", "layer", "fixed"]


def treatments(
    blocks: Sequence[Block], normalization: Normalization, overrides: Mapping[str, Treatment] | None = None
) -> dict[str, Treatment]:
    """How a direction is scaled in each parameter, by name, under "filter" or "layer".

    | parameter | "filter" | "layer" |
    | --- | --- | --- |
    | convolution | filter: each output channel | layer |
    | linear layer; query, key and value projections, together or apart | filter: the weights of each output | layer |
    | embedding, of tokens or positions | filter: each vector | layer |
    | bias; weight and bias of a normalization layer; any other vector or number | fixed | layer |

    `overrides` are treatments by name pattern ("*.bias", "norm*"), of which the last that matches counts.
    Raises InvalidArgument for a pattern that matches nothing or an unknown treatment.
    """
    found: dict[str, Treatment] = {
        block.name: "layer" if normalization == "layer" else "fixed" if block.kind == "vector" else "filter"
        for block in blocks
    }
    for pattern, treatment in (overrides or {}).items():
        one_of("overrides", treatment, get_args(Treatment))
        matched = [name for name in found if fnmatchcase(name, pattern)]
        if not matched:
            raise InvalidArgument(f"overrides: {pattern!r} matches none of {', '.join(list(found)[:6])}, ...")
        found |= dict.fromkeys(matched, treatment)
    return found


def normalized(
    direction: Tensor,
    point: Tensor,
    blocks: Sequence[Block],
    normalization: Normalization,
    overrides: Mapping[str, Treatment] | None = None,
) -> Tensor:
    """`direction` (n,) scaled to `point` (n,) piece by piece; a new vector.

    "filter": each filter (output channel of a convolution, row of a matrix, vector of an embedding) gets the norm
    of the point's; biases and the parameters of normalization layers get zero, as does a filter that is zero
    (Li et al. 2018, section 4). "layer": each parameter gets the norm of the point's. `treatments` says which is which,
    and what `overrides` are. "model": the whole vector; "none": unit length.

    Raises
    ------
    InvalidArgument: an unknown normalization, overrides of one that scales the whole vector, or nothing is left of the
        direction.
    """
    one_of("normalization", normalization, get_args(Normalization))
    if normalization in ("model", "none"):
        if overrides:
            raise InvalidArgument(
                f'overrides are of "filter" and "layer", not of normalization="{normalization}"'
            )
        scaled = direction * ((1.0 if normalization == "none" else point.norm()) / direction.norm())
    else:
        chosen = treatments(blocks, normalization, overrides)
        scaled = torch.zeros_like(direction)
        for block in blocks:
            scaled[block.span] = _scaled(
                direction[block.span], point[block.span], block.shape, chosen[block.name]
            )
    if not bool(scaled.any()):
        raise InvalidArgument(
            f'normalization="{normalization}" leaves nothing of the direction here (it zeroes one-dimensional '
            'parameters and those that are zero themselves): use normalization="none"'
        )
    return scaled


def _scaled(direction: Tensor, point: Tensor, shape: Sequence[int], treatment: Treatment) -> Tensor:
    if treatment == "fixed":
        return torch.zeros_like(direction)
    # Of a vector each entry is a filter.
    rows = shape[0] if treatment == "filter" and shape else 1
    filters, weights = direction.view(rows, -1), point.view(rows, -1)
    lengths = filters.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
    return (filters / lengths * weights.norm(dim=1, keepdim=True)).reshape(-1)
