"""What an adaptive optimizer's second moment would be if it stayed where it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from thalweg.curvature.noise.sample_gradients import sample_gradients
from thalweg.objective import AbstractObjective


def second_moment(
    obj: AbstractObjective, theta: Tensor | None = None, batch_size: int | None = None
) -> Tensor:
    """E[g²] (n,), elementwise, of the gradient at θ: of the full gradient, or of the mean of `batch_size` samples.

    The latter, for samples drawn with replacement, is G² + (E[γ²] − G²)/B with γ the gradients of single samples, each
    of which is taken once.
    """
    if batch_size is None:
        return obj.gradient(theta).square()
    with sample_gradients(obj, theta) as sampled:

        def moments() -> tuple[Tensor, Tensor]:
            total, squares = torch.zeros_like(sampled.theta), torch.zeros_like(sampled.theta)
            for batch in sampled.obj.batches.source():
                for chunk in sampled.chunks(tree_map(sampled.obj.batches.placed, batch)):
                    total += chunk.sum(0)
                    squares += chunk.square_().sum(0)
            return total / sampled.obj.samples, squares / sampled.obj.samples

        mean, square = sampled.obj.within_memory(moments)
    signal = mean.square()
    return signal + (square - signal).clamp(min=0) / batch_size
