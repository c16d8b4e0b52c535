"""A metric on a grid of points of a line or plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from numbers import Real

import numpy as np
import torch

from thalweg.checks import whole as whole_number
from thalweg.errors import InvalidArgument
from thalweg.landscape.claim import claim
from thalweg.landscape.evaluated import Evaluated
from thalweg.landscape.every_point import at_every_point
from thalweg.landscape.plane import Plane, require_plane
from thalweg.landscape.pointwise import pointwise
from thalweg.landscape.refinement import Refined, Refinement
from thalweg.landscape.sampling import sampling_of
from thalweg.landscape.slice import Slice
from thalweg.landscape.workers import Measure, Workers, unshared
from thalweg.objective import AbstractObjective, Objective, require_objective
from thalweg.store import Run, put_dataset

__all__ = ["Slice", "describe", "evaluate", "evaluated_whole"]

FEW = {1: 120, 2: 169}
"""By dimension: grids of at most this many points are evaluated whole: of fewer an audit would leave none to save."""
_ROUGH = "this grid is too coarse for the surface to be interpolated: every point was evaluated"
_PREVIEW = "a preview, whose error is an estimate that was not audited"
_STEPPED = {"accuracy", "lambda_max", "lambda_min"}
"""Metrics that are not smooth: shares of samples, and eigenvalues that are found to a hundredth."""


def evaluate(
    obj: AbstractObjective,
    plane: Plane,
    resolution: int | Sequence[int] = 51,
    span: float = 1.0,
    rtol: float | None = 0.01,
    metrics: Sequence[str] = ("loss",),
    *,
    also: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    run: Run | None = None,
    grid: str = "slice",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    preview: Callable[[Slice], None] | None = None,
) -> Slice:
    """Evaluate `metrics` of `obj` on a grid over `plane`, at as many of its points as `rtol` asks for.

    The others are interpolated. Every point is evaluated where the grid has few, where a surface evaluates many at
    the price of one, where accuracy is asked for, which moves in steps, or eigenvalues, which are found to a hundredth,
    and where the grid turns out too coarse for the surface to be interpolated.

    Parameters
    ----------
    resolution: points along each axis, at least 3. span: factor on the plane's extent.
    rtol: error of an interpolated point that is good enough, as `Slice.error` defines it; None, or 0: none is
    interpolated.
    metrics: "loss", "accuracy", "gradient_norm"; and those of `pointwise`: "lambda_max" and "lambda_min" of the whole
    Hessian, "plane_lambda_max" and "plane_lambda_min" of the Hessian in the plane.
    also: metrics to take along at the points that `metrics` take, NaN at the others: beside the loss, accuracy costs
    nothing.
    samples: how many of the data, drawn at random with `seed`, stand for all of them; None: all. `Slice.sampling` says
    what error that is.
    run: a run folder that each point is written to as it is evaluated; points already there are not evaluated.
    grid: the slice's name in the run folder. For None as `rtol` each point is put there, by its indices. Otherwise
    GRID.evaluated gets the evaluated points with their coordinates, in order, which serve slices of any resolution,
    span and tolerance, and GRID the whole map once it is known, with "evaluated" 0 or 1 where not every point was. What
    the slice is goes beside it.
    workers: processes that evaluate points side by side, each with a thread of its own; not for None as `rtol`.
    progress: called with (points done, points in all); the first number may end below the second.
    preview: called with the map as it is known so far, first after a coarse grid, then each time the points evaluated
    have doubled. Its error is what it was estimated as by then, not audited. The model is not at its own weights
    meanwhile. Not for None as `rtol`.

    Raises
    ------
    InvalidArgument: resolution, span, rtol, metrics, samples or grid cannot be used.
    RunConflict: the run's grid of this name is of another objective, sample or plane; where either had None as `rtol`,
    also of another resolution or span.
    """
    require_objective(obj)
    require_plane(plane)
    names = _names(metrics, also)
    if rtol is not None and (not isinstance(rtol, Real) or not rtol >= 0):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass text
        raise InvalidArgument(f"rtol must be None or not negative, got {rtol}")
    whole_number("workers", workers)
    if workers > 1 and rtol is None:
        raise InvalidArgument(
            f"workers must be 1 for rtol=None, got {workers}: rtol=0 evaluates every point too"
        )
    if samples is not None:
        if not isinstance(obj, Objective):
            raise InvalidArgument(f"samples is for a model on data: {obj.name} has none")
        obj = obj.sample(samples, seed)
    axes = {name: values.numpy() for name, values in plane.axes(resolution, span).items()}
    shape = tuple(len(values) for values in axes.values())
    if rtol is None:
        arrays, count = at_every_point(obj, plane, axes, names, run, grid, progress)
        found = Slice(plane, axes, arrays, count, 0.0, np.ones(shape, dtype=bool))
    else:
        found = _to_tolerance(obj, plane, axes, rtol, metrics, names, run, grid, workers, progress, preview)
    sampling = sampling_of(obj, plane, list(axes.values()), found.values.get("loss"), found.evaluated)
    found = replace(found, sampling=sampling, objective=obj)
    if run is not None and rtol is None:
        describe(run, grid, found)
    elif run is not None:
        put_dataset(run, grid, found.dataset)
    return found


def _to_tolerance(
    obj: AbstractObjective,
    plane: Plane,
    axes: dict[str, np.ndarray],
    rtol: float,
    metrics: Sequence[str],
    names: list[str],
    run: Run | None,
    grid: str,
    workers: int,
    progress: Callable[[int, int], None] | None,
    preview: Callable[[Slice], None] | None,
) -> Slice:
    """Evaluate `names`, of which the `metrics`, its first, are to be known everywhere; otherwise as `evaluate`."""
    if run is not None:
        claim(run, grid, obj, plane, None)
    shape = tuple(len(values) for values in axes.values())
    cheap = obj.batched and names == ["loss"]
    whole = evaluated_whole(obj, shape, metrics)
    # About how many points there will be decides whether to compile.
    expected = math.prod(shape) // (1 if whole else 7)
    leading = len(metrics)
    with _measuring(obj, plane, names, expected, cheap, workers) as measure:
        together = 64 if cheap else 4 * workers if workers > 1 else 1
        points = Evaluated(measure, together, axes, names, run, grid, progress)

        def mapped(refined: Refined, note: str) -> Slice:
            columns = np.hstack([refined.values, points.found[:, leading:]])
            arrays = {name: column.reshape(shape) for name, column in zip(names, columns.T, strict=True)}
            return Slice(
                plane, axes, arrays, points.count, refined.error, refined.evaluated.reshape(shape), note
            )

        refinement = Refinement(
            points.places,
            shape,
            lambda chosen: points.ask(chosen)[:, :leading],
            points.first,
            points.seeds,
            points.seeded[:, :leading],
            None if preview is None else lambda refined: preview(mapped(refined, _PREVIEW)),
        )
        refined = refinement.run(0.0 if whole else rtol)
    return mapped(refined, _ROUGH if refined.rough else "")


def evaluated_whole(obj: AbstractObjective, shape: Sequence[int], metrics: Sequence[str]) -> bool:
    """Whether `evaluate` takes every point of a grid of this shape, whatever the tolerance."""
    cheap = obj.batched and list(metrics) == ["loss"]
    return cheap or math.prod(shape) <= FEW[len(shape)] or bool(_STEPPED & set(metrics))


def describe(run: Run, grid: str, found: Slice) -> None:
    """Leave what the slice is, all that is known of it by now, beside its points in the run, for exports."""
    run.describe_grid(
        grid,
        {"axes": found.axes, "metrics": list(found.dataset.data_vars)} | found.attributes(),
    )


def _names(metrics: Sequence[str], also: Sequence[str]) -> list[str]:
    if isinstance(metrics, str) or not metrics:
        raise InvalidArgument(f'metrics must be a list such as ["loss"], got {metrics!r}')
    if isinstance(also, str):
        raise InvalidArgument(f'also must be a list such as ["accuracy"], got {also!r}')
    return [*metrics, *(name for name in also if name not in metrics)]


@contextmanager
def _measuring(
    obj: AbstractObjective, plane: Plane, metrics: Sequence[str], points: int, cheap: bool, workers: int
) -> Generator[Callable[[list[list[float]]], Sequence[Mapping[str, float]]]]:
    """From coordinates of points to their metrics: all at once, by several processes, or one after the other."""
    if cheap:
        yield lambda places: [
            {"loss": loss} for loss in obj.losses(torch.stack([plane.at(place) for place in places])).tolist()
        ]
    elif workers > 1:

        def pointwise_there() -> AbstractContextManager[Measure]:
            if isinstance(obj, Objective):
                unshared(obj.model)
            return pointwise(obj, plane, metrics, points // workers)

        with Workers(workers, plane, pointwise_there) as measure:
            yield measure
    else:
        with pointwise(obj, plane, metrics, points) as evaluator:
            yield lambda places: [evaluator(plane.at(place)) for place in places]
