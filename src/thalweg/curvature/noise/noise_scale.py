"""The gradient noise scale of an objective, and the batch size that is worth its samples."""

from __future__ import annotations

import math
from typing import get_args

from torch import Tensor

from thalweg.checks import one_of, positive, whole
from thalweg.curvature.noise.estimate import Method, NoiseScale
from thalweg.curvature.noise.from_batches import FEWEST, two_batch_sizes
from thalweg.curvature.noise.from_samples import GROUPS, all_samples, drawn_samples
from thalweg.curvature.noise.sample_gradients import sample_gradients
from thalweg.curvature.random_vectors import generator
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, require_objective


def gradient_noise_scale(
    obj: AbstractObjective,
    theta: Tensor | None = None,
    *,
    method: Method = "samples",
    small: int | None = None,
    big: int | None = None,
    rtol: float = 0.1,
    max_gradients: int = 10_000,
    seed: int = 0,
) -> NoiseScale:
    """The simple noise scale B = tr Σ/‖G‖² of a model's objective at θ (n,), its own point when None.

    Σ is the covariance of the gradients of single samples over the data, G their mean. The mean gradient of B samples
    drawn with replacement has noise tr Σ/B; in an epoch without replacement it is (N−B)/(N−1) of that. Where the loss
    counts samples differently, a sample's gradient is that of its part in the mean.

    Parameters
    ----------
    method: "samples" takes the gradient of each sample apart: exact, with an error of zero, where the data has at most
        `max_gradients` samples; else from samples drawn with replacement, at least 384 and until the error is met,
        holding 24 float64 vectors (n,) beside a sixteenth of the memory budget. "batches" compares gradients of two
        batch sizes, holding a few vectors; it needs several times as many samples, but their gradients are cheaper.
    small, big: batch sizes for "batches", big a multiple of small; 16 and 256 when None.
    rtol: standard error to reach, relative to the value; drawing stops there.
    max_gradients: gradients of single samples that may be spent, a batch of B counting B.

    Raises
    ------
    InvalidArgument: a surface, which has no samples; batchnorm="batch"; a loss that is no mean over samples; an unknown
        method, sizes that do not divide, or too few gradients for an error to be stated.
    NotDifferentiable: a loss that is not finite at θ.

    Source: McCandlish et al. (2018), An empirical model of large-batch training, section 2.2 and appendix A.1.
    """
    require_objective(obj)
    one_of("method", method, get_args(Method))
    positive("rtol", rtol)
    if method == "samples" and (small is not None or big is not None):
        raise InvalidArgument('small and big are batch sizes: use them with method="batches"')
    sizes = _sizes(small, big)
    least = FEWEST * sizes[1] if method == "batches" else 2 * GROUPS
    whole("max_gradients", max_gradients)
    with sample_gradients(obj, theta) as sampled:
        if method == "samples" and sampled.obj.samples <= max_gradients:
            return all_samples(sampled)
        whole("max_gradients", max_gradients, least)
        draw = generator(seed)
        if method == "samples":
            return drawn_samples(sampled, rtol, max_gradients, draw)
        return two_batch_sizes(sampled, *sizes, rtol, max_gradients, draw)


def critical_batch_size(noise: NoiseScale) -> float:
    """The batch size, in samples, at which training takes twice the fewest steps and twice the fewest samples.

    It is taken to be the noise scale, B_crit ≈ B_simple, which is exact where the Hessian is a multiple of the identity
    and a guide to within a small factor elsewhere: training to a given loss with batches of B takes 1 + B_crit/B times
    the fewest steps and 1 + B/B_crit times the fewest samples. It grows as the loss falls: measure it again. Infinite
    where no gradient was found; `thalweg.schedules.scale_rate` takes it as `critical`.

    Raises
    ------
    InvalidArgument: a noise scale of 0 or one that is not a number: any batch is as good.

    Source: McCandlish et al. (2018), sections 2.2 and 2.3.
    """
    if not noise.value > 0 or math.isnan(noise.value):
        raise InvalidArgument(
            f"noise has the value {noise.value}: without gradient noise no batch size is critical"
        )
    return noise.value


def _sizes(small: int | None, big: int | None) -> tuple[int, int]:
    if small is None:
        small = 16 if big is None else max(1, big // 16)
    whole("small", small)
    big = whole("big", 16 * small if big is None else big, 2)
    if big <= small or big % small:
        raise InvalidArgument(f"big must be a multiple of small, at least twice, got {big} and {small}")
    return small, big
