"""Line searches: how far to go along a direction, exactly or to Armijo's or the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from thalweg.errors import InvalidArgument

Method: TypeAlias = Literal["exact", "armijo", "wolfe"]

SUFFICIENT, CURVATURE = 1e-4, 0.9
"""The constants c₁ and c₂ of the Wolfe conditions (Nocedal & Wright 2006, page 34)."""
DOUBLINGS = 60


class Line:
    """φ(t) = f(θ + td) along a direction of descent; values and slopes are kept, so that none is computed twice.

    `evaluate(t)` gives φ(t) and φ′(t), one evaluation of loss and gradient.
    """

    def __init__(self, evaluate: Callable[[float], tuple[float, float]], value: float, slope: float) -> None:
        self._evaluate = evaluate
        self._known = {0.0: (value, slope)}

    @property
    def evaluations(self) -> int:
        """How many points were evaluated, the start not counted."""
        return len(self._known) - 1

    def value(self, t: float) -> float:
        """φ(t)."""
        return self._at(t)[0]

    def slope(self, t: float) -> float:
        """φ′(t)."""
        return self._at(t)[1]

    def sufficient(self, t: float) -> bool:
        """Armijo's condition φ(t) ≤ φ(0) + c₁tφ′(0)."""
        return self.value(t) <= self.value(0.0) + SUFFICIENT * t * self.slope(0.0)

    def flat(self, t: float) -> bool:
        """The strong curvature condition |φ′(t)| ≤ c₂|φ′(0)|."""
        return abs(self.slope(t)) <= CURVATURE * abs(self.slope(0.0))

    def _at(self, t: float) -> tuple[float, float]:
        if t not in self._known:
            self._known[t] = self._evaluate(t)
        return self._known[t]


@dataclass(frozen=True)
class Found:
    """A step length `t`, and whether it meets the conditions that were asked for."""

    t: float
    met: bool


def search(line: Line, method: Method, first: float) -> Found:
    """A step length along `line` by `method`, trying `first` first. Raises InvalidArgument for an unknown method."""
    if method not in METHODS:
        raise InvalidArgument(f"line_search must be one of {', '.join(METHODS)}, got {method!r}")
    return METHODS[method](line, first)


def exact(line: Line, first: float) -> Found:
    """The first t found at which φ′ vanishes: a bracket by doubling, then Brent's method on φ′."""
    low, high = 0.0, first
    for _ in range(DOUBLINGS):
        if not math.isfinite(line.value(high)) or not math.isfinite(line.slope(high)):
            high = (low + high) / 2
        elif line.slope(high) < 0:
            low, high = high, 2 * high
        else:
            break
    else:
        return Found(low, False)
    if line.slope(high) == 0 or low == high:
        return Found(high, True)
    # φ′ at the root is what makes consecutive directions orthogonal, so t is wanted to the last digit.
    from scipy.optimize import brentq  # takes half a second to import

    root: Any = brentq(line.slope, low, high, xtol=1e-300, rtol=np.float64(4 * 2.0**-52), maxiter=200)
    t = float(root)
    return Found(t, line.value(t) < line.value(0.0))


def armijo(line: Line, first: float) -> Found:
    """Halve t until the loss falls enough (Armijo 1966)."""
    t = first
    for _ in range(DOUBLINGS):
        if line.sufficient(t):
            return Found(t, True)
        t /= 2
    return Found(0.0, False)


def wolfe(line: Line, first: float) -> Found:
    """A t that meets the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6)."""
    before, t = 0.0, first
    for _ in range(DOUBLINGS):
        if not line.sufficient(t) or (before > 0 and line.value(t) >= line.value(before)):
            return _zoom(line, before, t)
        if line.flat(t):
            return Found(t, True)
        if line.slope(t) >= 0:
            return _zoom(line, t, before)
        before, t = t, 2 * t
    return Found(before, False)


def _zoom(line: Line, low: float, high: float) -> Found:
    """Narrow the interval between `low`, the best t so far, and `high` until a t in it meets the conditions."""
    for _ in range(DOUBLINGS):
        t = _between(line, low, high)
        if not line.sufficient(t) or line.value(t) >= line.value(low):
            high = t
        else:
            if line.flat(t):
                return Found(t, True)
            if line.slope(t) * (high - low) >= 0:
                high = low
            low = t
        if abs(high - low) <= 4 * 2.0**-52 * max(abs(high), abs(low)):
            break
    return Found(low, False)


def _between(line: Line, low: float, high: float) -> float:
    """Where the cubic through values and slopes at both ends is lowest, kept off the ends; else the middle."""
    middle, margin = (low + high) / 2, 0.1 * abs(high - low)
    rise = (line.value(low) - line.value(high)) / (low - high)
    bend = line.slope(low) + line.slope(high) - 3 * rise
    square = bend * bend - line.slope(low) * line.slope(high)
    if not square >= 0:
        return middle
    root = math.copysign(math.sqrt(square), high - low)
    divisor = line.slope(high) - line.slope(low) + 2 * root
    if not math.isfinite(divisor) or divisor == 0:
        return middle
    t = high - (high - low) * (line.slope(high) + root - bend) / divisor
    return t if min(low, high) + margin <= t <= max(low, high) - margin else middle


METHODS: dict[Method, Callable[[Line, float], Found]] = {"exact": exact, "armijo": armijo, "wolfe": wolfe}
