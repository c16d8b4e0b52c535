"""A rate that shrinks by the same factor at every step."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import positive, share, whole
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class exponential(Schedule):
    """η_t = rate · factor^t, up to step `steps` if that is given.

    Parameters
    ----------
    factor: γ, what one step leaves of the rate, in (0, 1].
    steps: the step from which the rate is held; None: it shrinks for ever.

    Raises InvalidArgument for a rate, factor or steps out of range.
    """

    rate: float
    factor: float
    steps: int | None = None

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        share("factor", self.factor)
        if self.steps is not None:
            whole("steps", self.steps)

    def _rate(self, t: float) -> float:
        return self.rate * self.factor ** (t if self.steps is None else min(t, self.steps))
