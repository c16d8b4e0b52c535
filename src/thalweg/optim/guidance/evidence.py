"""What a run measured that bears on the choice of an optimizer."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from thalweg.store import Run

_DESCENTS = ("sgd", "momentum", "nesterov")


@dataclass(frozen=True)
class Evidence:
    """Numbers of a run; None for what it does not hold.

    Attributes
    ----------
    parameters, samples: counts. surface: whether an analytic surface was descended, without any noise.
    optimizer, lr, momentum, weight_decay, batch_size, diverged: how it was trained.
    largest, largest_error, smallest, smallest_error: eigenvalues of the Hessian and their residuals.
    mean: the mean eigenvalue, trace over parameters.
    downward: directions that curve downward beyond doubt.
    gap, gap_error: the test loss above the training loss, and the standard error of that.
    """

    parameters: int | None = None
    samples: int | None = None
    surface: bool = False
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    diverged: bool = False
    largest: float | None = None
    largest_error: float = 0.0
    smallest: float | None = None
    smallest_error: float = 0.0
    mean: float | None = None
    downward: int | None = None
    gap: float | None = None
    gap_error: float | None = None

    @property
    def condition(self) -> float | None:
        """λmax/λmin, where all curvature is upward beyond the error of the smallest eigenvalue."""
        if self.largest is None or self.smallest is None or self.smallest <= max(self.smallest_error, 0.0):
            return None
        return self.largest / self.smallest

    @property
    def plain_descent(self) -> bool:
        """Whether it was trained by gradient descent with or without momentum, whose rates λmax limits."""
        return self.optimizer in _DESCENTS


def evidence(run: str | os.PathLike[str] | Run) -> Evidence:
    """Read the run in a folder, or an opened one, which stays open. Raises MissingData if there is none."""
    if isinstance(run, Run):
        return _read(run.results())
    with Run.read(run) as opened:
        return _read(opened.results())


def _read(results: dict[str, Any]) -> Evidence:
    target: dict[str, Any] = results.get("target") or {}
    training: dict[str, Any] = results.get("training") or {}
    pairs: dict[str, Any] = results.get("eigenpairs") or {}
    trace: dict[str, Any] = results.get("trace") or {}
    values = [value for value in map(_finite, pairs.get("values", ())) if value is not None]
    residuals = [_finite(value) or 0.0 for value in pairs.get("residuals", ())] or [0.0]
    # One value alone is the largest: what the other end is, is unknown.
    both = len(values) > 1 or target.get("parameters") == 1
    size, total = target.get("parameters"), _finite(trace.get("value"))
    gap, error = _gap(results.get("quality") or {})
    return Evidence(
        size,
        target.get("samples"),
        target.get("kind") == "surface",
        training.get("optimizer"),
        _finite(training.get("lr")),
        _finite(training.get("momentum")),
        _finite(training.get("weight_decay")),
        training.get("batch_size"),
        bool(training.get("diverged")),
        values[0] if values else None,
        residuals[0],
        values[-1] if values and both else None,
        residuals[-1],
        total / size if size and total is not None else None,
        (results.get("classification") or {}).get("index"),
        gap,
        error,
    )


def _gap(quality: dict[str, Any]) -> tuple[float | None, float | None]:
    if not quality.get("train") or not quality.get("test"):
        return None, None
    train, test = quality["train"]["loss"], quality["test"]["loss"]
    values = [_finite(part.get(key)) for part in (train, test) for key in ("value", "stderr")]
    if any(value is None for value in values):
        return None, None
    low, low_error, high, high_error = (float(value or 0.0) for value in values)
    return high - low, math.hypot(low_error, high_error)


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
