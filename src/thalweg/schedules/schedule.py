"""A learning-rate schedule: a pure function of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thalweg.checks import whole
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from thalweg.schedules.scheduler import ScheduleLR


@dataclass(frozen=True)
class Schedule(ABC):
    """The learning rate at every step t = 0, 1, 2, …, as a function without state.

    `schedule(t)` is the rate of the step number t, counted from 0. A schedule that ends holds its final value
    from then on. Schedules compare equal when their parameters do, and can be pickled.

    A subclass is a frozen dataclass of its parameters with one method, `_rate`.
    """

    @abstractmethod
    def _rate(self, t: float) -> float:
        """The rate at a step t that is finite and not negative."""

    def __call__(self, t: float) -> float:
        """The rate at step `t`, a number that need not be whole.

        Raises InvalidArgument if `t` is negative or not finite.
        """
        at = float(t)
        if not (at >= 0 and math.isfinite(at)):
            raise InvalidArgument(f"t must be a finite number of steps, counted from 0, got {t!r}")
        return float(self._rate(at))

    def rates(self, steps: int) -> NDArray[np.float64]:
        """The rates (steps,) of a run of so many steps, those at t = 0 … steps − 1.

        Raises InvalidArgument if `steps` is not a whole number.
        """
        return np.array([self(t) for t in range(whole("steps", steps, 0))], dtype=np.float64)

    def torch(self, optimizer: Optimizer, last_epoch: int = -1) -> ScheduleLR:
        """A `torch.optim.lr_scheduler.LRScheduler` that sets the rate; call its `step()` after each `optimizer.step()`.

        See `ScheduleLR` for several parameter groups, other schedulers beside it, and resuming.
        Raises InvalidArgument if `optimizer` is not a `torch.optim.Optimizer`.
        """
        # Here, so that schedules as plain functions do without torch.
        from thalweg.schedules.scheduler import ScheduleLR

        return ScheduleLR(optimizer, self, last_epoch)
