"""Evaluating every point of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from thalweg.landscape.claim import claim
from thalweg.landscape.plane import Plane
from thalweg.landscape.pointwise import pointwise
from thalweg.objective import AbstractObjective
from thalweg.store import Run

Index = tuple[int, ...]


def at_every_point(
    obj: AbstractObjective,
    plane: Plane,
    axes: Mapping[str, np.ndarray],
    metrics: Sequence[str],
    run: Run | None,
    grid: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, np.ndarray], int]:
    """Each metric over the axes, and how many points were evaluated now; the arguments are those of `evaluate`."""
    shape = tuple(len(values) for values in axes.values())
    if run is not None:
        claim(run, grid, obj, plane, axes)
    known = {} if run is None else run.points(grid)
    found = {name: np.full(shape, np.nan) for name in metrics}
    indices = list(itertools.product(*map(range, shape)))
    missing = [index for index in indices if any(name not in known.get(index, {}) for name in metrics)]
    # What a point has already is not evaluated again.
    wanted = [name for name in metrics if any(name not in known.get(index, {}) for index in missing)]
    check = wanted or list(metrics)
    with pointwise(obj, plane, check, len(indices)) as evaluator:
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
    return found, len(missing)


def _together(indices: list[Index], batched: bool) -> list[list[Index]]:
    """The points that are evaluated, and committed, at once: a row of the grid, or each alone.

    Always the same ones, so that a continued run gets the same bits.
    """
    if not batched:
        return [[index] for index in indices]
    return [list(row) for _, row in itertools.groupby(indices, key=lambda index: index[:-1])]
