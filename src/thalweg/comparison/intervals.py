"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
"""Confidence of every interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % Student-t interval; low and high are NaN for fewer than two values.

    The interval takes the values of the seeds as independent and normal. `values` are those, one for each seed.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    @property
    def holds_zero(self) -> bool:
        """Whether zero is in the interval; False where there is none."""
        return self.low <= 0 <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of `values`, of which those that are not finite are left out of both."""
    finite = np.array([value for value in values if math.isfinite(value)])
    given = tuple(float(value) for value in values)
    if not finite.size:
        return Estimate(math.nan, math.nan, math.nan, given)
    mean = float(finite.mean())
    if finite.size < 2:
        return Estimate(mean, math.nan, math.nan, given)
    quantile = float(stdtrit(finite.size - 1, (1 + LEVEL) / 2))
    half = quantile * float(finite.std(ddof=1)) / math.sqrt(finite.size)
    return Estimate(mean, mean - half, mean + half, given)


def difference(these: Sequence[float], those: Sequence[float]) -> Estimate:
    """These minus those, seed by seed; a seed where either is not finite has no part in it."""
    return estimate([a - b for a, b in zip(these, those, strict=True)])
