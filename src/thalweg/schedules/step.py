"""A rate that drops by a factor at fixed steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.checks import positive, share, whole
from thalweg.errors import InvalidArgument
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class step(Schedule):
    """η_t = rate · factor^k, with k the number of drops up to and including step t.

    Parameters
    ----------
    factor: what a drop leaves of the rate, in (0, 1].
    every: steps from one drop to the next. milestones: the steps of the drops, ascending. One of the two.

    Raises InvalidArgument for a rate or factor out of range, milestones that do not ascend, and both or neither
    of `every` and `milestones`.
    """

    rate: float
    factor: float = 0.1
    every: int | None = None
    milestones: Sequence[int] | None = None

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        share("factor", self.factor)
        if (self.every is None) == (self.milestones is None):
            raise InvalidArgument(
                "give either every or milestones to say when the rate drops, "
                f"got every={self.every!r}, milestones={self.milestones!r}"
            )
        if self.every is not None:
            whole("every", self.every)
        if self.milestones is not None:
            drops = tuple(whole("each of milestones", drop, 0) for drop in self.milestones)
            if list(drops) != sorted(set(drops)):
                raise InvalidArgument(f"milestones must ascend, got {list(drops)}")
            # A tuple, so that the schedule is as immutable and hashable as the others.
            object.__setattr__(self, "milestones", drops)

    def _rate(self, t: float) -> float:
        drops = bisect_right(self.milestones or (), t) if self.every is None else int(t // self.every)
        return self.rate * self.factor**drops
