"""A linear rise to the rate that another schedule begins with."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import not_negative, whole
from thalweg.errors import InvalidArgument
from thalweg.schedules.blend import blend
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class warmup(Schedule):
    """η_t = start + (then(0) − start) t/steps, and then(t − steps) from step `steps` on.

    Parameters
    ----------
    then: any schedule, which begins when the warm-up is over.
    start: rate of the step 0. With 0, the default, that step leaves the parameters where they are. With a
        rate scaled for a larger batch it is the rate before scaling (Goyal et al.).

    Raises InvalidArgument if `steps` is not positive, `then` is no schedule or `start` is negative.

    Source: Goyal et al. (2017), Accurate, large minibatch SGD, section 2.2.

    >>> s = warmup(200, then=cosine(1e-3, steps=800))
    >>> s(0), s(100), s(200), s(1000)
    (0.0, 0.0005, 0.001, 0.0)
    """

    steps: int
    then: Schedule
    start: float = 0.0

    def __post_init__(self) -> None:
        whole("steps", self.steps)
        if not isinstance(self.then, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"then must be a schedule, such as constant(0.1), got {self.then!r}")
        not_negative("start", self.start)

    def _rate(self, t: float) -> float:
        if t < self.steps:
            return blend(self.then(0), self.start, t / self.steps)
        return self.then(t - self.steps)
