"""A ratio of two estimates that are known up to a covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

LEVEL = 0.95
"""Share of cases in which an interval is to hold the true ratio."""


@dataclass(frozen=True)
class Spread:
    """Variances and covariance of a numerator and a denominator, estimated with `freedom` degrees of freedom."""

    numerator: float
    mixed: float
    denominator: float
    freedom: float


EXACT = Spread(0.0, 0.0, 0.0, math.inf)


@dataclass(frozen=True)
class Ratio:
    """A ratio that is not negative, its standard error and its 95 % interval."""

    value: float
    stderr: float
    interval: tuple[float, float]


def ratio(numerator: float, denominator: float, spread: Spread) -> Ratio:
    """numerator/denominator, of which the true ones are not negative.

    The standard error is that of the delta method. The interval is Fieller's, which also holds where the denominator
    is hardly known: all ratios that a t test does not reject, so that it has no upper end where the denominator may be
    zero. A denominator that comes out at zero or below gives an infinite ratio, 0/0 one that is not a number.

    Source: Fieller (1954), Some problems in interval estimation.
    """
    if denominator <= 0:
        value = math.nan if numerator == 0 and denominator == 0 else math.inf
        stderr = 0.0 if spread == EXACT else math.inf
    else:
        value = max(numerator, 0.0) / denominator
        variance = spread.numerator - 2 * value * spread.mixed + value * value * spread.denominator
        stderr = math.sqrt(max(variance, 0.0)) / denominator if math.isfinite(variance) else math.inf
    if spread == EXACT:
        return Ratio(value, stderr, (value, value))
    return Ratio(value, stderr, _fieller(numerator, denominator, spread))


def _fieller(numerator: float, denominator: float, spread: Spread) -> tuple[float, float]:
    """The ratios r ≥ 0 with (numerator − r·denominator)² ≤ t²·variance, which is a quadratic in r."""
    if not spread.freedom > 0 or not all(map(math.isfinite, (numerator, denominator, spread.numerator))):
        return 0.0, math.inf
    t = float(stdtrit(spread.freedom, (1 + LEVEL) / 2)) ** 2
    a = denominator * denominator - t * spread.denominator
    b = numerator * denominator - t * spread.mixed
    c = numerator * numerator - t * spread.numerator
    inside = b * b - a * c
    if a > 0:
        # Without real roots rounding alone is at work: the estimates satisfy it themselves.
        root = math.sqrt(max(inside, 0.0))
        low, high = (b - root) / a, (b + root) / a
        return (max(low, 0.0), max(high, 0.0)) if denominator > 0 else (0.0, math.inf)
    if c <= 0 or inside < 0 or a == 0:
        return 0.0, math.inf
    # Of the two parts that are left, the one of positive ratios.
    return max((b - math.sqrt(inside)) / a, 0.0), math.inf
