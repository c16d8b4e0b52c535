"""The noise scale from the gradients of single samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from thalweg.curvature.noise.drawing import draw_samples
from thalweg.curvature.noise.estimate import Moments, NoiseScale, noise_scale
from thalweg.curvature.noise.sample_gradients import SampleGradients
from thalweg.objective import Block

GROUPS = 24
"""Sums of gradients kept apart, to see how much they differ: as many vectors of length n are held."""
_FIRST, _MOST = 16, 64
"""Samples that each group gets at first, and that it gets at most from one pass over the data."""


def all_samples(sampled: SampleGradients) -> NoiseScale:
    """The exact noise scale of the data, from the gradient of each sample once."""
    obj = sampled.obj

    def exact() -> Moments:
        total = torch.zeros(obj.size, dtype=_wide(sampled.theta), device=obj.device)
        squares = torch.zeros(len(obj.blocks) + 1, dtype=torch.float64)
        for batch in obj.batches.source():
            for chunk in sampled.chunks(tree_map(obj.batches.placed, batch)):
                total += chunk.sum(0)
                squares += squared_norms(chunk, obj.blocks).sum(0)
        norms = squared_norms(total[None] / obj.samples, obj.blocks)[0]
        return Moments((squares / obj.samples - norms).clamp(min=0), norms, None, 0)

    moments = obj.within_memory(exact)
    return noise_scale(moments, obj.blocks, gradients=obj.samples, converged=True, method="samples")


def drawn_samples(sampled: SampleGradients, rtol: float, limit: int, draw: torch.Generator) -> NoiseScale:
    """The noise scale from at most `limit` samples drawn with replacement, more and more until known to `rtol`.

    ‖G‖² is the mean of γᵢ·γⱼ over all pairs i ≠ j; the errors are those of a jackknife over groups of samples.
    """
    obj = sampled.obj
    sums = torch.zeros(GROUPS, obj.size, dtype=_wide(sampled.theta), device=obj.device)
    squares = torch.zeros(GROUPS, len(obj.blocks) + 1, dtype=torch.float64)
    size, wanted = 0, _FIRST
    while True:
        wanted = min(wanted, limit // GROUPS)
        while size < wanted:
            added = min(_MOST, wanted - size)
            _add(sampled, sums, squares, added, draw)
            size += added
        moments = _jackknife(sums, squares, size, obj.blocks)
        done = moments.met(rtol)
        if done or size >= limit // GROUPS:
            spent = size * GROUPS
            return noise_scale(moments, obj.blocks, gradients=spent, converged=done, method="samples")
        wanted = 2 * size


def squared_norms(gradients: Tensor, blocks: Sequence[Block]) -> Tensor:
    """‖γ‖² of each row of (b, n), by parameter and in all: (b, blocks + 1), float64 on the CPU."""
    each = [gradients[:, block.span].square().sum(1, dtype=_wide(gradients)) for block in blocks]
    found = torch.stack(each, 1).to("cpu", torch.float64)
    return torch.cat([found, found.sum(1, keepdim=True)], 1)


def _add(sampled: SampleGradients, sums: Tensor, squares: Tensor, added: int, draw: torch.Generator) -> None:
    """Add `added` new samples to each group."""
    obj = sampled.obj
    drawn = draw_samples(obj, added * GROUPS, draw)

    def new() -> tuple[Tensor, Tensor]:
        more, norms = torch.zeros_like(sums), torch.zeros_like(squares)
        for piece in drawn:
            start = 0
            for chunk in sampled.chunks(piece.batch):
                group = piece.positions[start : start + len(chunk)] // added
                start += len(chunk)
                more.index_add_(0, group.to(obj.device), chunk.to(more.dtype))
                norms.index_add_(0, group, squared_norms(chunk, obj.blocks))
        return more, norms

    more, norms = obj.within_memory(new)
    sums += more
    squares += norms


def _jackknife(sums: Tensor, squares: Tensor, size: int, blocks: Sequence[Block]) -> Moments:
    """The moments, and their covariance from leaving each group of `size` samples out once."""
    total, norms = sums.sum(0), squares.sum(0)
    whole = _pair(squared_norms(total[None], blocks)[0], norms, size * GROUPS)
    without = torch.stack(
        [
            _pair(squared_norms((total - sums[g])[None], blocks)[0], norms - squares[g], size * (GROUPS - 1))
            for g in range(GROUPS)
        ]
    )
    apart = without - without.mean(0)
    covariance = torch.einsum("rki,rkj->kij", apart, apart) * (GROUPS - 1) / GROUPS
    return Moments(whole[:, 0], whole[:, 1], covariance, GROUPS - 1)


def _pair(square_of_sum: Tensor, sum_of_squares: Tensor, samples: int) -> Tensor:
    """tr Σ and ‖G‖² (blocks + 1, 2): the mean product of a gradient with itself and with another sample's."""
    others = (square_of_sum - sum_of_squares) / (samples * (samples - 1))
    return torch.stack([sum_of_squares / samples - others, others], 1)


def _wide(like: Tensor) -> torch.dtype:
    # Apple's GPUs have no float64.
    return like.dtype if like.device.type == "mps" else torch.float64
