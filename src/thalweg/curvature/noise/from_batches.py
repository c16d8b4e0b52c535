"""The noise scale from the gradients of small batches and of big ones made of them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from thalweg.curvature.noise.drawing import draw_samples
from thalweg.curvature.noise.estimate import NoiseScale, moments_of, noise_scale
from thalweg.curvature.noise.from_samples import squared_norms
from thalweg.curvature.noise.sample_gradients import SampleGradients

T = TypeVar("T", float, Tensor)

FEWEST = 8
"""Big batches before their spread is believed."""


def two_batch_sizes(
    sampled: SampleGradients, small: int, big: int, rtol: float, limit: int, draw: torch.Generator
) -> NoiseScale:
    """The noise scale from at most limit/big pairs of a big batch and the small ones it is made of.

    Every pair estimates ‖G‖² by (B‖g_B‖² − b‖g_b‖²)/(B − b) and tr Σ by (‖g_b‖² − ‖g_B‖²)/(1/b − 1/B), ‖g_b‖² the mean
    over the small batches in the big one; these are averaged over pairs before the ratio is taken.
    """
    obj = sampled.obj
    pairs: list[Tensor] = []
    wanted = FEWEST
    while True:
        wanted = min(wanted, limit // big)
        while len(pairs) < wanted:
            pairs.append(_pair(sampled, small, big, draw))
        moments = moments_of(torch.stack(pairs))
        done = moments.met(rtol)
        if done or len(pairs) >= limit // big:
            return noise_scale(
                moments,
                obj.blocks,
                gradients=len(pairs) * big,
                converged=done,
                method="batches",
                sizes=(small, big),
            )
        wanted = len(pairs) + max(1, len(pairs) // 2)


def pair_estimates(small_norm: T, big_norm: T, small: float, big: float) -> tuple[T, T]:
    """tr Σ and ‖G‖², unbiased, from mean squared norms of gradients of two batch sizes."""
    trace = (small_norm - big_norm) / (1 / small - 1 / big)
    squared_norm = (big * big_norm - small * small_norm) / (big - small)
    return trace, squared_norm


def _pair(sampled: SampleGradients, small: int, big: int, draw: torch.Generator) -> Tensor:
    obj = sampled.obj
    drawn = draw_samples(obj, big, draw)

    def norms() -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(sampled.theta)
        small_norms = torch.zeros(len(obj.blocks) + 1, dtype=torch.float64)
        for start in range(0, big, small):
            parts = [piece.between(start, start + small) for piece in drawn]
            slope = sampled.mean([part for part in parts if part is not None], small)
            small_norms += squared_norms(slope[None], obj.blocks)[0]
            total += slope
        parts = big // small
        return small_norms / parts, squared_norms(total[None] / parts, obj.blocks)[0]

    return torch.stack(pair_estimates(*obj.within_memory(norms), small, big), -1)
