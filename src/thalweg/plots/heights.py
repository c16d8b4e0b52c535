"""How the values of a map become heights and colours: logarithmic or not, from where, up to where."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats
from thalweg.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

MAPS_FROM, LINES_FROM = 10.0, 100.0
"""Ratio of the highest value, spikes aside, to the lowest from which maps and axes of lines are logarithmic.

Heights on an axis are told apart at its lower tenth, colours are not: most of a basin there would be one colour.
"""

_SIGNED_FROM = 100.0
_SPIKE = 5.0
# In a range this narrow the round numbers of a decade are too few.
_NARROW = 3.0
_DEEPEST = 1e-6
_BULK = 0.98
_RESOLUTION = 1e-12
# Nearer to zero doubles lose their digits.
_TINY = 1e-290
_MANTISSAS = ((1.0, (1, 1.5, 2, 3, 5, 7)), (2.6, (1, 2, 5)), (5.5, (1, 3)))


def logarithmic_from(name: str, factor: float) -> float:
    """`factor` but for accuracies, which are shares and always linear."""
    return math.inf if name == "accuracy" else factor


@dataclass(frozen=True)
class Heights:
    """The scale of a map.

    base: what is subtracted from values, 0 unless some are negative and the scale is logarithmic.
    lower, upper: range of (value − base) that colours tell apart. above, below: points outside of it, drawn
    at its ends. missing: points without a finite value. points: all of them.
    """

    base: float
    logarithmic: bool
    lower: float
    upper: float
    above: int
    below: int
    missing: int
    points: int

    @classmethod
    def of(cls, values: ArrayLike, *, logarithmic_from: float = MAPS_FROM) -> Heights:
        """The scale that suits `values` of any shape.

        Logarithmic when the values span a factor above `logarithmic_from`, never where that is infinite; negative ones
        from a factor of 100 above the lowest. The top two in a hundred are cut off when they would take half of the
        scale for themselves, and logarithms six decades below the top. Of a grid (a, b) it is the hundredths of its
        area that count, so that the scale is a matter of the surface and not of the number of points.
        """
        field = np.asarray(values, dtype=np.float64)
        known = np.isfinite(field).ravel()
        finite, weights = field.ravel()[known], _areas(field.shape).ravel()[known]
        order = np.argsort(finite)
        finite, weights = finite[order], weights[order]
        counts = (field.size - finite.size, field.size)
        if not finite.size:
            return cls(0.0, False, 0.0, 1.0, 0, 0, *counts)
        base, logarithmic = _base(finite, weights, logarithmic_from)
        heights = finite - base
        top = float(heights[-1])
        lower = max(float(heights[heights > _TINY][0]), top * _DEEPEST) if logarithmic else float(heights[0])
        upper = _robust_top(heights, weights, lower, logarithmic)
        if upper - lower <= max(_TINY, _RESOLUTION * abs(lower)):
            margin = abs(lower) * 0.01 if abs(lower) > _TINY else 1.0
            return cls(base, False, lower - margin, lower + margin, 0, 0, *counts)
        above, below = int((heights > upper).sum()), int((heights < lower).sum())
        return cls(base, logarithmic, lower, upper, above, below, *counts)

    def __call__(self, values: ArrayLike) -> Floats:
        """Values as heights above the base, within the range; NaN where there is no finite value."""
        heights = np.asarray(values, dtype=np.float64) - self.base
        return np.where(np.isfinite(heights), np.clip(heights, self.lower, self.upper), np.nan)

    def norm(self) -> Normalize:
        """The matplotlib norm of the range."""
        from matplotlib.colors import LogNorm, Normalize

        return (LogNorm if self.logarithmic else Normalize)(self.lower, self.upper)

    def levels(self) -> Floats:
        """Round heights, ascending, for contour lines."""
        if not self.logarithmic or self.upper < _NARROW * self.lower:
            from matplotlib.ticker import MaxNLocator

            found = np.asarray(MaxNLocator(7).tick_values(self.lower, self.upper))
        else:
            decades = np.arange(math.floor(math.log10(self.lower)), math.ceil(math.log10(self.upper)) + 1)
            width = math.log10(self.upper / self.lower)
            mantissas = next((m for limit, m in _MANTISSAS if width <= limit), (1,))
            found = np.sort(np.multiply.outer(10.0**decades, mantissas).ravel())
        ends = (self.lower * 1.001, self.upper / 1.001)
        if not self.logarithmic:
            margin = 1e-3 * (self.upper - self.lower)
            ends = (self.lower + margin, self.upper - margin)
        return found[(found > ends[0]) & (found < ends[1])]

    def bands(self, between: int = 3) -> Floats:
        """Ascending bounds of filled bands: the range's ends, the levels, and `between` steps from one to the next."""
        knots = np.unique(np.concatenate([[self.lower], self.levels(), [self.upper]]))
        scale = np.log10(knots) if self.logarithmic else knots
        fine = np.concatenate(
            [np.linspace(a, b, between, endpoint=False) for a, b in itertools.pairwise(scale)]
        )
        bounds = 10.0**fine if self.logarithmic else fine
        # Exactly the ends, for what is beyond them by rounding would be left blank.
        return np.concatenate([[self.lower], bounds[1:], [self.upper]])

    def label(self, name: str) -> str:
        """What the heights of the quantity `name` are, for an axis."""
        if not self.base:
            return name
        return f"{name} {'−' if self.base > 0 else '+'} {abs(self.base):.3g}"

    def remarks(self, name: str) -> list[str]:
        """Sentences on everything that is not drawn as it is."""
        found: list[str] = []
        if self.logarithmic and self.base:
            found.append(
                f"Heights are logarithms of {self.label(name)}: the lowest point of the map is zero."
            )
        elif self.logarithmic:
            found.append("Heights are logarithmic.")
        if self.above:
            bound = _three_digits(self.upper + self.base)
            found.append(
                f"{self.above} of {self.points} points have a {name} above {bound} and are drawn at it (dotted)."
            )
        if self.below:
            bound = _three_digits(self.lower + self.base)
            found.append(
                f"{self.below} of {self.points} points have a {name} below {bound} and are drawn at it."
            )
        if self.missing:
            found.append(
                f"At {self.missing} of {self.points} points the {name} is not a finite number (hatched)."
            )
        return found


def _areas(shape: tuple[int, ...]) -> Floats:
    """What each point stands for: on a grid half as much at an edge as within, and a quarter at a corner."""
    if len(shape) != 2:
        return np.ones(shape)
    sides = [np.ones(length) for length in shape]
    for side in sides:
        if side.size > 2:
            side[[0, -1]] = 0.5
    return np.outer(*sides)


def _quantile(ascending: Floats, weights: Floats, share: float) -> float:
    middles = np.cumsum(weights) - weights / 2
    # Of equal weights as NumPy has it: from the first value at 0 to the last at 1.
    return float(np.interp(middles[0] + share * (middles[-1] - middles[0]), middles, ascending))


def _base(finite: Floats, weights: Floats, factor: float) -> tuple[float, bool]:
    if finite[0] >= 0:
        lowest = finite[finite > _TINY][:1]
        # The highest value is the same on every grid that holds it. A few spikes would not be worth decades.
        top, bulk = float(finite[-1]), _quantile(finite, weights, _BULK)
        if top - finite[0] > _SPIKE * (bulk - finite[0]):
            top = bulk
        return 0.0, bool(lowest.size) and bool(top > factor * lowest[0])
    # Above its own minimum every map spans infinitely many decades: there too the bulk decides.
    heights = finite - finite[0]
    low, high = (_quantile(heights, weights, share) for share in (1 - _BULK, _BULK))
    logarithmic = high > max(factor, _SIGNED_FROM) * low and high > _TINY
    return (float(finite[0]), True) if logarithmic else (0.0, False)


def _robust_top(heights: Floats, weights: Floats, lower: float, logarithmic: bool) -> float:
    top, bulk = float(heights[-1]), _quantile(heights, weights, _BULK)
    if not bulk > lower:
        return top
    reach = (math.log(top / lower), math.log(bulk / lower)) if logarithmic else (top - lower, bulk - lower)
    return bulk if reach[0] > 2 * reach[1] else top


def _three_digits(value: float) -> str:
    return plain(float(f"{value:.3g}"))
