"""A metric on a grid of points of a line or plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thalweg.errors import InvalidArgument, RunConflict
from thalweg.landscape.plane import Plane
from thalweg.objective import AbstractObjective
from thalweg.store import Run

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Slice:
    """An evaluated slice.

    values: by metric, an array over the axes, NaN or infinite where the loss is.
    axes: coordinates along each axis, by name. evaluations: points at which the objective was evaluated now.
    error: largest relative error of an interpolated point; 0 when every point was evaluated.
    """

    plane: Plane
    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    evaluations: int
    error: float

    @property
    def dataset(self) -> xr.Dataset:
        """The slice as labelled arrays, with what the plane is in its attributes."""
        import xarray as xr

        variables = {name: (tuple(self.axes), array) for name, array in self.values.items()}
        return xr.Dataset(variables, coords=self.axes, attrs=self.attributes())

    def attributes(self) -> dict[str, Any]:
        """What the slice is, in plain values."""
        return {"kind": self.plane.kind, "labels": list(self.plane.labels), "error": self.error} | dict(
            self.plane.facts
        )


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
    progress: Callable[[int, int], None] | None = None,
) -> Slice:
    """Evaluate `metrics` of `obj` on a grid over `plane`; every point is evaluated, whatever `rtol` would allow.

    Parameters
    ----------
    resolution: points along each axis, at least 3. span: factor on the plane's extent.
    rtol: relative error that is good enough at a point.
    metrics: "loss", "accuracy", "gradient_norm".
    run: a run folder that each point is written to as it is evaluated; points already there are not evaluated.
    grid: the slice's name in the run folder.
    progress: called with (points done, points in all).

    Raises
    ------
    InvalidArgument: resolution, span, rtol, metrics or grid cannot be used.
    RunConflict: the run's grid of this name is of another objective or plane.
    """
    if isinstance(metrics, str) or not metrics:
        raise InvalidArgument(f'metrics must be a list such as ["loss"], got {metrics!r}')
    if rtol is not None and not rtol >= 0:
        raise InvalidArgument(f"rtol must be None or not negative, got {rtol}")
    axes = {name: values.numpy() for name, values in plane.axes(resolution, span).items()}
    shape = tuple(len(values) for values in axes.values())
    if run is not None:
        _claim(run, grid, obj, plane, axes)
    known = {} if run is None else run.points(grid)
    found = {name: np.full(shape, np.nan) for name in metrics}
    indices = list(itertools.product(*map(range, shape)))
    missing = [index for index in indices if any(name not in known.get(index, {}) for name in metrics)]
    # What a point has already is not evaluated again.
    wanted = [name for name in metrics if any(name not in known.get(index, {}) for index in missing)]
    check = wanted or list(metrics)
    with obj.evaluator(check, len(indices)) as evaluator:
        done = len(indices) - len(missing)
        for group in _together(missing, obj.batched and wanted == ["loss"]):
            points = [
                plane.at([axis[i] for axis, i in zip(axes.values(), index, strict=True)]) for index in group
            ]
            if len(group) == 1:
                values = [evaluator(points[0])]
            else:
                values = [{"loss": loss} for loss in obj.losses(torch.stack(points)).tolist()]
            known |= {index: known.get(index, {}) | new for index, new in zip(group, values, strict=True)}
            if run is not None:
                run.put_points(grid, {index: known[index] for index in group})
            done += len(group)
            if progress is not None:
                progress(done, len(indices))
    for index, name in itertools.product(indices, metrics):
        found[name][index] = known[index][name]
    return Slice(plane, axes, found, len(missing), 0.0)


def _claim(run: Run, grid: str, obj: AbstractObjective, plane: Plane, axes: dict[str, np.ndarray]) -> None:
    """Make sure that the points of `grid` in the run are of this objective on this plane and grid.

    The plane is told by the lengths of its vectors and their products with a fixed random one, changed code of the
    model by the loss at the center; each is compared with room for the rounding of another machine.
    """
    probe = torch.randn(plane.center.numel(), generator=torch.Generator().manual_seed(0)).to(plane.center)
    vectors = [plane.center, *plane.directions.T]
    lengths = [float(v.norm()) for v in vectors]
    claim: dict[str, Any] = {
        "objective": obj.fingerprint(),
        "shape": [len(values) for values in axes.values()],
        "ends": [float(values[end]) for values in axes.values() for end in (0, -1)],
        "lengths": lengths,
        "products": [float(v @ probe) / (length or 1.0) for v, length in zip(vectors, lengths, strict=True)],
        "loss": float(obj.loss(plane.center)),
    }
    held: Any = run.claim_grid(grid, claim)
    same = all(held[name] == claim[name] for name in ("objective", "shape")) and all(
        np.allclose(held[name], claim[name], rtol=1e-3, atol=atol, equal_nan=True)
        # Products with unit vectors are of order one, and may cancel.
        for name, atol in (("ends", 1e-9), ("lengths", 0.0), ("products", 1e-3), ("loss", 1e-12))
    )
    if not same:
        raise RunConflict(
            f"grid {grid!r} of {run.path} holds points of another slice: give another grid= name"
        )


def _together(indices: list[tuple[int, ...]], batched: bool) -> list[list[tuple[int, ...]]]:
    """The points that are evaluated, and committed, at once: a row of the grid, or each alone.

    Always the same ones, so that a continued run gets the same bits.
    """
    if not batched:
        return [[index] for index in indices]
    return [list(row) for _, row in itertools.groupby(indices, key=lambda index: index[:-1])]
