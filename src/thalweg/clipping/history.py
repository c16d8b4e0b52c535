"""Gradient norms over a run, and the spikes among them."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections import deque
from typing import NamedTuple

from thalweg.errors import InvalidArgument


class Spike(NamedTuple):
    """A step (counted from 0) whose gradient `norm` was far above the running `median` before it."""

    step: int
    norm: float
    median: float

    @property
    def ratio(self) -> float:
        """How many times the median; infinite where the norm was not finite."""
        return self.norm / self.median if math.isfinite(self.norm) else math.inf


class NormHistory:
    """Gradient norms of successive steps, each with the median of the `window` finite ones before it.

    A median is known from `least` norms on, so the large gradients of the first steps are no spikes. Sixteen
    bytes a step. Raises InvalidArgument unless 1 ≤ least ≤ window.
    """

    def __init__(self, window: int = 100, least: int = 10) -> None:
        if not 1 <= least <= window:
            raise InvalidArgument(f"least must be between 1 and window={window}, got {least}")
        self._least = least
        self._norms = array("d")
        self._medians = array("d")
        self._recent: deque[float] = deque(maxlen=window)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._norms)

    @property
    def norms(self) -> list[float]:
        """The norm of every step."""
        return self._norms.tolist()

    @property
    def medians(self) -> list[float]:
        """The running median before every step; NaN where fewer than `least` norms came before."""
        return self._medians.tolist()

    def append(self, norm: float) -> None:
        """Record the gradient norm of the next step."""
        self._norms.append(norm)
        self._medians.append(self._median())
        if not math.isfinite(norm):
            return
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(norm)
        insort(self._sorted, norm)

    def spikes(self, ratio: float = 5.0) -> tuple[Spike, ...]:
        """The steps whose norm was above `ratio` times the running median, or not finite.

        Raises InvalidArgument for a `ratio` not above 1.
        """
        if not ratio > 1:
            raise InvalidArgument(f"ratio must be above 1, got {ratio}")
        steps = zip(self._norms, self._medians, strict=True)
        return tuple(
            Spike(step, norm, median)
            for step, (norm, median) in enumerate(steps)
            if norm > ratio * median or not math.isfinite(norm)
        )

    def _median(self) -> float:
        count = len(self._sorted)
        if count < self._least:
            return math.nan
        return (self._sorted[(count - 1) // 2] + self._sorted[count // 2]) / 2
