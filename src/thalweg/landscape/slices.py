"""A metric on a grid of points of a line or plane."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thalweg.checks import whole as whole_number
from thalweg.errors import InvalidArgument
from thalweg.landscape.claim import claim
from thalweg.landscape.evaluated import Evaluated
from thalweg.landscape.every_point import at_every_point
from thalweg.landscape.plane import Plane
from thalweg.landscape.pointwise import pointwise
from thalweg.landscape.refinement import Refinement
from thalweg.landscape.workers import Workers
from thalweg.objective import AbstractObjective
from thalweg.store import Run

if TYPE_CHECKING:
    import xarray as xr

FEW = {1: 21, 2: 169}
"""By dimension: grids of at most this many points are evaluated whole."""
_STEPPED = {"accuracy", "lambda_max", "lambda_min"}
"""Metrics that are not smooth: shares of samples, and eigenvalues that are found to a hundredth."""


@dataclass(frozen=True)
class Slice:
    """An evaluated slice.

    values: by metric, an array over the axes, NaN or infinite where the loss is.
    axes: coordinates along each axis, by name. evaluations: points at which the objective was evaluated now.
    error: what no interpolated point's error exceeds, relative to its size or to a thousandth of the map's range where
    that is more, in any metric; an estimate with a margin, audited. 0 when every point was evaluated.
    evaluated: which points were, over the axes. note: says so where the surface was too rough to interpolate.
    """

    plane: Plane
    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    evaluations: int
    error: float
    evaluated: np.ndarray
    note: str = ""

    @property
    def dataset(self) -> xr.Dataset:
        """The slice as labelled arrays, with what the plane is in its attributes."""
        import xarray as xr

        arrays = dict(self.values)
        if not self.evaluated.all():
            arrays["evaluated"] = self.evaluated
        variables = {name: (tuple(self.axes), array) for name, array in arrays.items()}
        return xr.Dataset(variables, coords=self.axes, attrs=self.attributes())

    def attributes(self) -> dict[str, Any]:
        """What the slice is, in plain values."""
        attributes = {"kind": self.plane.kind, "labels": list(self.plane.labels), "error": self.error}
        if self.plane.limits:
            attributes["limits"] = list(self.plane.limits)
        if self.note:
            attributes["note"] = self.note
        return attributes | dict(self.plane.facts)


def evaluate(
    obj: AbstractObjective,
    plane: Plane,
    resolution: int | Sequence[int] = 51,
    span: float = 1.0,
    rtol: float | None = 0.01,
    metrics: Sequence[str] = ("loss",),
    *,
    run: Run | None = None,
    grid: str = "slice",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Slice:
    """Evaluate `metrics` of `obj` on a grid over `plane`, at as many of its points as `rtol` asks for.

    The others are interpolated. Every point is evaluated where the grid has few, where a surface evaluates many at
    the price of one, where accuracy is asked for, which moves in steps, or eigenvalues, which are found to a hundredth,
    and where the surface turns out too rough.

    Parameters
    ----------
    resolution: points along each axis, at least 3. span: factor on the plane's extent.
    rtol: error of an interpolated point that is good enough, as `Slice.error` defines it; None, or 0: none is
    interpolated.
    metrics: "loss", "accuracy", "gradient_norm"; and those of `pointwise`: "lambda_max" and "lambda_min" of the whole
    Hessian, "plane_lambda_max" and "plane_lambda_min" of the Hessian in the plane.
    run: a run folder that each point is written to as it is evaluated; points already there are not evaluated.
    grid: the slice's name in the run folder. For None as `rtol` each point is put there, by its indices. Otherwise
    GRID.evaluated gets the evaluated points with their coordinates, in order, which serve slices of any resolution,
    span and tolerance, and GRID the whole map once it is known, with "evaluated" 0 or 1.
    workers: processes that evaluate points side by side, each with a thread of its own; not for None as `rtol`.
    progress: called with (points done, points in all); the first number may end below the second.

    Raises
    ------
    InvalidArgument: resolution, span, rtol, metrics or grid cannot be used.
    RunConflict: the run's grid of this name is of another objective or plane; where either had None as `rtol`, also
    of another resolution or span.
    """
    if isinstance(metrics, str) or not metrics:
        raise InvalidArgument(f'metrics must be a list such as ["loss"], got {metrics!r}')
    if rtol is not None and not rtol >= 0:
        raise InvalidArgument(f"rtol must be None or not negative, got {rtol}")
    whole_number("workers", workers)
    if workers > 1 and rtol is None:
        raise InvalidArgument(
            f"workers must be 1 for rtol=None, got {workers}: rtol=0 evaluates every point too"
        )
    axes = {name: values.numpy() for name, values in plane.axes(resolution, span).items()}
    shape = tuple(len(values) for values in axes.values())
    if rtol is None:
        found, count = at_every_point(obj, plane, axes, metrics, run, grid, progress)
        return Slice(plane, axes, found, count, 0.0, np.ones(shape, dtype=bool))
    if run is not None:
        claim(run, grid, obj, plane, None)
    cheap = obj.batched and list(metrics) == ["loss"]
    whole = cheap or math.prod(shape) <= FEW[plane.dim] or bool(_STEPPED & set(metrics))
    # About how many points there will be decides whether to compile.
    expected = math.prod(shape) // (1 if whole else 7)
    with _measuring(obj, plane, metrics, expected, cheap, workers) as measure:
        together = 64 if cheap else 4 * workers if workers > 1 else 1
        points = Evaluated(measure, together, axes, metrics, run, grid, progress)
        refinement = Refinement(points.places, shape, points.ask, points.first, points.seeds, points.seeded)
        refined = refinement.run(0.0 if whole else rtol)
    arrays = {name: refined.values[:, m].reshape(shape) for m, name in enumerate(metrics)}
    evaluated = refined.evaluated.reshape(shape)
    if run is not None:
        _keep(run, grid, arrays | {"evaluated": evaluated}, shape)
    note = "the surface is rough at this resolution: every point was evaluated" if refined.rough else ""
    return Slice(plane, axes, arrays, points.count, refined.error, evaluated, note)


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
        with Workers(workers, plane, lambda: pointwise(obj, plane, metrics, points // workers)) as measure:
            yield measure
    else:
        with pointwise(obj, plane, metrics, points) as evaluator:
            yield lambda places: [evaluator(plane.at(place)) for place in places]


def _keep(run: Run, grid: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> None:
    """Put the whole map into the run, in place of one of another resolution, span or tolerance."""
    indices = itertools.product(*map(range, shape))
    rows = {index: {name: float(array[index]) for name, array in arrays.items()} for index in indices}
    run.drop_points(grid)
    run.put_points(grid, rows)
