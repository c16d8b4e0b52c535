"""The straight line between two models."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.landscape.connectivity.barrier import along
from thalweg.landscape.connectivity.ends import End, as_point, between_models
from thalweg.landscape.connectivity.path import Path, as_controls
from thalweg.objective import AbstractObjective, BatchNorm


def interpolate(
    obj: AbstractObjective,
    a: End,
    b: End,
    *,
    points: int = 25,
    metrics: Sequence[str] = ("loss",),
    batchnorm: BatchNorm | None = None,
) -> Path:
    """The losses on the straight line from a to b, and the barrier between them.

    Parameters
    ----------
    a, b: points (n,), models, or their state dictionaries.
    points: values of t, the ends among them; around the highest one more are looked at.
    metrics: "loss" (always), "accuracy", "gradient_norm".
    batchnorm: "eval", "batch" or "recalibrate", as `Objective` has them; None re-estimates the statistics at every
        point, for those of either end are wrong in between.

    Raises
    ------
    InvalidArgument, ShapeMismatch: ends that do not fit the objective, fewer than 3 points, an unknown metric.

    Sources: Goodfellow, Vinyals & Saxe (2015); Frankle et al. (2020) and Entezari et al. (2022) for the barrier.
    """
    controls = as_controls([as_point(obj, a, "a"), as_point(obj, b, "b")])
    return along(between_models(obj, batchnorm), "line", controls, points=points, metrics=metrics)
