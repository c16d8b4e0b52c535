"""Norm clipping at every step of a run, by hand or attached to an optimizer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from thalweg.clipping.by_norm import clip_gradients
from thalweg.clipping.gradients import Gradients, NonFinite, Parameters, check
from thalweg.clipping.history import NormHistory, Spike
from thalweg.clipping.record import ClipRecord
from thalweg.errors import InvalidArgument


class NormClipper:
    """`clip_by_norm` at every step, with the norms kept: a spike may announce that a run diverges.

    Call it with the parameters between `backward` and the optimizer's step, or `attach` it to the optimizer.

    Attributes
    ----------
    history: the norms of all steps, one that raised included.
    records: what the last `keep` clippings did, oldest first.

    Parameters
    ----------
    c, nonfinite: as for `clip_by_norm`; c=math.inf records without clipping.
    history: a history to go on with; a new one when None.
    keep: how many records are held.

    Raises
    ------
    InvalidArgument: `c` not above 0, an unknown `nonfinite`, or `keep` below 1.
    """

    def __init__(
        self,
        c: float = 1.0,
        *,
        nonfinite: NonFinite = "raise",
        history: NormHistory | None = None,
        keep: int = 1000,
    ) -> None:
        self._c = check(c, nonfinite)
        self._nonfinite: NonFinite = nonfinite
        if keep < 1:
            raise InvalidArgument(f"keep must be at least 1, got {keep}")
        self.history = NormHistory() if history is None else history
        self.records: deque[ClipRecord] = deque(maxlen=keep)

    def __call__(self, params: Parameters) -> ClipRecord:
        """Clip the gradients of `params` in place, record and return what was done; raises as `clip_by_norm`."""
        gradients = Gradients(params)
        self.history.append(gradients.norm)
        record = clip_gradients(gradients, self._c, self._nonfinite)
        self.records.append(record)
        return record

    def spikes(self, ratio: float = 5.0) -> tuple[Spike, ...]:
        """The steps whose norm was above `ratio` times the running median, or not finite."""
        return self.history.spikes(ratio)

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Clip before every step of `optimizer`, all its groups together; `remove()` of the result ends it.

        Where the step evaluates a closure, the gradients are clipped, and recorded, after each evaluation.
        With a GradScaler, call `scaler.unscale_(optimizer)` first if the optimizer is a fused one; a step with
        gradients that are still scaled raises InvalidArgument.
        """
        return optimizer.register_step_pre_hook(self._before_step)

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if getattr(optimizer, "grad_scale", None) is not None:
            raise InvalidArgument(
                "the gradients are still multiplied by the loss scale: call scaler.unscale_(optimizer) before the step"
            )
        # The hook's args begin with the optimizer itself, as its step sees them.
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self(_parameters(optimizer))
            return None

        def clipped() -> Any:
            loss = cast("Callable[[], Any]", closure)()
            self(_parameters(optimizer))
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": clipped}
        return (optimizer, clipped, *args[2:]), kwargs


def _parameters(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or [f"group {g}, parameter {i}" for i in range(len(group["params"]))]
        yield from zip(names, group["params"], strict=True)
