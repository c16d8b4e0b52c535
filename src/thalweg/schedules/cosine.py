"""Cosine annealing, once or with warm restarts."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import not_negative, positive, whole
from thalweg.schedules.blend import blend, cosine_weight
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class cosine(Schedule):
    """η_t = final + (rate − final)(1 + cos(πt/steps))/2, and `final` from step `steps` on.

    Raises InvalidArgument for a rate or steps that is not positive and for a negative `final`.

    Source: Loshchilov & Hutter (2017), SGDR, equation 5, without restarts.
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("steps", self.steps)
        not_negative("final", self.final)

    def _rate(self, t: float) -> float:
        return blend(self.rate, self.final, cosine_weight(min(t / self.steps, 1)))


@dataclass(frozen=True)
class warm_restarts(Schedule):
    """Cosine annealing from `rate` towards `final`, begun anew after each period; it never ends.

    Parameters
    ----------
    period: steps of the first period. growth: each period is so many times as long as the one before.

    Raises InvalidArgument for a rate, period or growth that is not positive and for a negative `final`.

    Source: Loshchilov & Hutter (2017), SGDR, equation 5.
    """

    rate: float
    period: int
    growth: int = 1
    final: float = 0.0

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("period", self.period)
        whole("growth", self.growth)
        not_negative("final", self.final)

    def _rate(self, t: float) -> float:
        period = self.period
        if self.growth == 1:
            t %= period
        while t >= period:
            t -= period
            period *= self.growth
        return blend(self.rate, self.final, cosine_weight(t / period))
