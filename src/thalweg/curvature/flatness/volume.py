"""How wide a basin is: the size of Gaussian noise on the weights that the loss tolerates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective

LARGEST = 1e6
"""Noise, in units of its scale, beyond which the loss counts as flat."""


def flat_radius(
    obj: AbstractObjective, theta: Tensor, scale: Tensor, noise: Sequence[Tensor], rise: float
) -> tuple[float, float]:
    """The smallest σ at which the mean of L(θ + σ·scale·z) − L(θ) over the noise z (n,) reaches `rise`, and its error.

    Found by bisection to a thousandth, on the same noise throughout, from below: the rise need not grow with
    σ beyond. The error is the standard error over the noise, turned into one of σ by the slope there.

    Raises InvalidArgument when no noise up to a million raises the loss so far.
    """
    base = float(obj.loss(theta))

    def rises(sigma: float) -> list[float]:
        found = [float(obj.loss(theta + sigma * scale * z)) - base for z in noise]
        return [value if math.isfinite(value) else math.inf for value in found]

    def mean(sigma: float) -> float:
        return sum(rises(sigma)) / len(noise)

    low, high = 0.0, 1e-4
    while mean(high) < rise:
        low, high = high, 2 * high
        if high > LARGEST:
            raise InvalidArgument(
                f"rise must be one that noise brings about: at σ = {low:.0e} the loss has not risen by {rise:g}"
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if mean(middle) >= rise else (middle, high)
    values = rises(high)
    average = sum(values) / len(values)
    spread = math.sqrt(sum((v - average) ** 2 for v in values) / (len(values) - 1) / len(values))
    slope = (average - mean(0.9 * high)) / (0.1 * high)
    error = spread / slope if slope > 0 and math.isfinite(spread) else high
    return high, error + 1e-3 * high
