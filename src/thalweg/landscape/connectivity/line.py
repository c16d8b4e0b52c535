"""The straight line between two models."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.landscape.connectivity.barrier import along
from thalweg.landscape.connectivity.ends import End, between_models, finite_point
from thalweg.landscape.connectivity.path import Path, as_controls
from thalweg.objective import AbstractObjective, BatchNorm, require_objective


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
    InvalidArgument, ShapeMismatch: ends that do not fit the objective or are not finite, fewer than 3 points, an
        unknown metric.

    Sources: Goodfellow, Vinyals & Saxe (2015); Frankle et al. (2020) and Entezari et al. (2022) for the barrier.
    """
    require_objective(obj)
    controls = as_controls([finite_point(obj, a, "a"), finite_point(obj, b, "b")])
    return along(between_models(obj, batchnorm), "line", controls, points=points, metrics=metrics)
