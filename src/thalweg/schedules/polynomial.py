"""Rates that fall as a power of the steps left."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import not_negative, positive, whole
from thalweg.schedules.blend import blend
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class polynomial(Schedule):
    """η_t = final + (rate − final)(1 − t/steps)^power, and `final` from step `steps` on.

    `final` may be above `rate`. Raises InvalidArgument for a rate, power or steps that is not positive and for
    a negative `final`.
    """

    rate: float
    steps: int
    power: float
    final: float = 0.0

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("steps", self.steps)
        positive("power", self.power)
        not_negative("final", self.final)

    def _rate(self, t: float) -> float:
        return blend(self.rate, self.final, (1 - min(t / self.steps, 1)) ** self.power)


@dataclass(frozen=True)
class linear(Schedule):
    """η_t = rate + (final − rate) t/steps, and `final` from step `steps` on.

    `final` may be above `rate`, as in a learning-rate range test. Raises InvalidArgument for a rate or steps
    that is not positive and for a negative `final`.
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("steps", self.steps)
        not_negative("final", self.final)

    def _rate(self, t: float) -> float:
        return blend(self.rate, self.final, 1 - min(t / self.steps, 1))
