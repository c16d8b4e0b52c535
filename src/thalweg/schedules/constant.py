"""The same rate at every step."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import positive
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class constant(Schedule):
    """η_t = `rate`.

    Raises InvalidArgument if `rate` is not positive.
    """

    rate: float

    def __post_init__(self) -> None:
        positive("rate", self.rate)

    def _rate(self, t: float) -> float:
        return self.rate
