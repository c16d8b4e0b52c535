"""Metrics of a model at many points, as fast as its forward pass allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from thalweg.objective.batches import Batch
from thalweg.objective.metrics import forward_metrics, named_metrics
from thalweg.objective.weighted_sum import weighted_sum

if TYPE_CHECKING:
    from thalweg.objective.objective import Objective

COMPILE_FROM = {"cpu": 2e12, "cuda": 2e14}
"""Floating-point operations over all points from which compiling pays: about 40 s of uncompiled work.

A count rather than a time, so that a continued run decides as before.
"""


class Evaluator:
    """`evaluator(theta)` gives the metrics at θ (n,); the model is entered once, not for each point.

    Inside the context the model's parameters are overwritten in place; they, and all else of it, are as before
    afterwards. `points` is how many are to come: for many, the forward pass is compiled where that pays and a
    compiler is there; `compiled` says whether it was.
    """

    def __init__(
        self, objective: Objective, metrics: Sequence[str], points: int, *, compile: bool | None = None
    ) -> None:
        self.objective = objective
        self.metrics = list(metrics)
        self.points = points
        self.compiled = False
        self._wanted = compile
        self._quantity = forward_metrics(self.metrics, objective.batches.count)
        self._call: Callable[[Batch], Tensor] = lambda batch: objective.module(batch, self._quantity)
        self._left = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.callback(self.objective.set_point, self.objective.point)
            entered.enter_context(self.objective.evaluating(derivatives=False))
            if self._pays():
                self._compile()
            self._left = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.close()

    def __call__(self, theta: Tensor) -> dict[str, float]:
        """The metrics at θ (n,)."""
        self.objective.set_point(theta)
        found = self.objective.within_memory(
            lambda: weighted_sum(self.objective.batches, lambda _, batch: self._call(batch))
        )
        return named_metrics(self.metrics, found.tolist())

    def _pays(self) -> bool:
        if self._wanted is not None:
            return self._wanted
        pass_flops = self.objective.within_memory(self._flops)
        return pass_flops * self.points > COMPILE_FROM.get(self.objective.device.type, 2e14)

    def _flops(self) -> float:
        """Floating-point operations of one pass over the data, from those of its first batch."""
        weight, batch = next(iter(self.objective.batches))
        with FlopCounterMode(display=False) as counter:
            self._call(batch)
        return counter.get_total_flops() / weight

    def _compile(self) -> None:
        def call(batch: Batch) -> Any:
            return self.objective.module(batch, self._quantity)

        eager, compiled = self._call, torch.compile(call)
        _, batch = next(iter(self.objective.batches))
        try:
            found = compiled(batch)
        # Whatever a compiler trips over, the uncompiled pass gives the same numbers.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.objective.notes.append(f"compiling the forward pass failed ({reason}): evaluated uncompiled")
            return
        # Code from torch's cache can be for another processor than it runs on, and compute something else.
        if not torch.allclose(
            found, eager(batch), rtol=torch.finfo(self.objective.dtype).eps ** 0.5, equal_nan=True
        ):
            self.objective.notes.append(
                "the compiled forward pass gave other numbers: evaluated uncompiled; "
                "deleting torch's compile cache ($TORCHINDUCTOR_CACHE_DIR) may help"
            )
            return
        self._call, self.compiled = compiled, True
