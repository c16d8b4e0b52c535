"""A schedule that sets the rates of a torch optimizer."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thalweg.errors import InvalidArgument
from thalweg.schedules.schedule import Schedule


class ScheduleLR(LRScheduler):
    """Sets the learning rates of `optimizer` to those of `schedule`, one step of it per call of `step()`.

    The schedule gives the rate itself, not a factor of the optimizer's. With several parameter groups the one
    with the largest initial rate gets schedule(t) and every other its share of that: the ratios of the initial
    rates stay, and no group exceeds the schedule. Rates that are tensors are filled in place.

    A rate that something else has changed since the last step (another scheduler, the user) stays changed by the
    same factor, so the scheduler can be chained with torch's; construct it first. A group that is added later
    follows the schedule from its own rate. A change made while the schedule is at zero has no factor and is lost.

    To resume, load `state_dict()` of optimizer and scheduler, in either order; the state holds no schedule, which
    is given again. Or, without the scheduler's state, give `last_epoch`, the number of the last step that is done,
    with an optimizer whose groups have "initial_lr".

    `shares` holds, for each group, what it gets of the schedule's rate.
    Raises InvalidArgument if `optimizer` is not a `torch.optim.Optimizer`.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(
                f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}"
            )
        self.schedule = schedule
        initial = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        largest = max(initial)
        self.shares = [rate / largest if largest else 1.0 for rate in initial]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of every group at the step `last_epoch`, changes made by others included."""
        # The first step, which construction does, finds the rates of before; so does one that starts over.
        if self.last_epoch > 0 and self._step_count > 1:
            self.shares = self._shares_now()
        return self._get_closed_form_lr()

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        # Torch's name for the rates at `last_epoch` whatever the groups hold now.
        rate = self.schedule(self.last_epoch)
        return [rate * share for share in self.shares]

    def _shares_now(self) -> list[float]:
        before = self.schedule(self.last_epoch - 1)
        shares: list[float] = []
        for i, group in enumerate(self.optimizer.param_groups):
            rate = float(group["lr"])
            known = i < len(self.shares)
            if known and (before == 0 or rate == float(self._last_lr[i])):
                shares.append(self.shares[i])
            else:
                shares.append(rate / before if before else 1.0)
        return shares

    def state_dict(self) -> dict[str, Any]:
        """Step, rates and shares: plain values, which `torch.load(weights_only=True)` reads."""
        return {key: value for key, value in super().state_dict().items() if key != "schedule"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; rates that its construction overwrote are restored."""
        written = self._last_lr
        super().load_state_dict(state_dict)
        for group, mine, rate in zip(self.optimizer.param_groups, written, self._last_lr, strict=False):
            # Construction after the optimizer's state was loaded has overwritten the rates that it brought.
            if float(group["lr"]) != float(mine):
                continue
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(float(rate))
            else:
                group["lr"] = float(rate)
