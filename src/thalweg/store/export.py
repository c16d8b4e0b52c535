"""A run's grids and series in the formats of other programs."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from thalweg.checks import one_of
from thalweg.errors import InvalidArgument, MissingData
from thalweg.store.atomic import replacing
from thalweg.store.confinement import checked_name
from thalweg.store.encoding import JSON
from thalweg.store.faults import explain
from thalweg.store.run import Run
from thalweg.store.vtk import write_vtk

if TYPE_CHECKING:
    import os

    import xarray

Attribute: TypeAlias = str | int | float | list[str] | list[int] | list[float]


def dataset(run: Run, grid: str) -> xarray.Dataset:
    """A grid as a Dataset: one variable per metric over the grid's axes, NaN where a point is missing.

    Axes and metrics are those of the grid's description and of the result "slice.GRID", {"axes": {name: coordinates},
    "metrics": [...], ...}; the rest of both becomes attributes, what is nested deeper than a list as JSON text. Without
    either, as in a run that was interrupted early, axes are "i", "j", ... and coordinates the indices.

    Raises MissingData if the run has no such grid, InvalidArgument if its points do not fit its axes.
    """
    import xarray

    table = _table(run, grid)
    shape = tuple(len(coordinates) for coordinates in table.axes.values())
    values = {metric: np.full(shape, np.nan) for metric in table.metrics}
    for index, row in table.points.items():
        for metric in values.keys() & row.keys():
            values[metric][index] = row[metric]
    variables = {metric: (tuple(table.axes), array) for metric, array in values.items()}
    return xarray.Dataset(variables, coords=table.axes, attrs=table.attributes)


def put_dataset(run: Run, grid: str, found: xarray.Dataset) -> None:
    """Put every point of a Dataset over one or more axes into the run, in place of the grid of that name.

    Its attributes become the grid's description: `dataset` reads both back, and `export` writes them.
    """
    axes = {str(name): np.asarray(found[name], dtype=np.float64).tolist() for name in found.sizes}
    arrays = {str(name): np.asarray(variable, dtype=np.float64) for name, variable in found.data_vars.items()}
    attributes = {str(name): value for name, value in found.attrs.items()}
    indices = itertools.product(*(range(len(axis)) for axis in axes.values()))
    rows = {index: {name: float(array[index]) for name, array in arrays.items()} for index in indices}
    # In this order no description is ever beside points of another grid.
    run.drop_points(grid)
    run.describe_grid(grid, {"axes": axes, "metrics": list(arrays)} | attributes)
    run.put_points(grid, rows)


def export(run: Run, format: str, out: str | os.PathLike[str]) -> list[Path]:
    """Write a run's numbers into the folder `out` and return the paths of the files.

    "netcdf" writes GRID.nc for every grid, "vtk" GRID.vtk, both with what the grid is. "csv" writes GRID.csv (axes,
    then metrics; a line per stored point), series.NAME.csv for every series, and results.json, with what each grid is
    under "slice.GRID" (non-finite numbers as the strings "NaN", "Infinity" and "-Infinity", which strict JSON has no
    numbers for). Every file is replaced whole.

    Raises InvalidArgument for another format or an `out` that cannot be written.
    """
    one_of("format", format, tuple(_WRITERS))
    folder = Path(out)
    writers = _WRITERS[format](run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            # The names come from a database that may not be Thalweg's own work.
            with replacing(folder / checked_name(name)) as temporary:
                write(temporary)
    except OSError as error:
        raise explain(error, folder) from error
    return [folder / name for name in writers]


@dataclass(frozen=True)
class _Table:
    axes: dict[str, list[float]]
    metrics: list[str]
    attributes: dict[str, Attribute]
    points: dict[tuple[int, ...], dict[str, float]]


def _table(run: Run, grid: str) -> _Table:
    points = run.points(grid)
    description: dict[str, JSON] = _description(run, grid)
    if not points and not description:
        raise MissingData(f"{run.path} has no grid {grid!r}: it has {', '.join(run.grids()) or 'none'}")
    axes = description.pop("axes", None) or _bare_axes(points)
    metrics = description.pop("metrics", None) or sorted(
        {metric for row in points.values() for metric in row}
    )
    lengths = [len(coordinates) for coordinates in axes.values()]
    for index in points:
        if len(index) != len(lengths) or any(i >= n for i, n in zip(index, lengths, strict=True)):
            raise InvalidArgument(
                f"point {index} of {grid} must lie on its axes {', '.join(axes)} of {lengths} points"
            )
    return _Table(axes, metrics, {key: _attribute(value) for key, value in description.items()}, points)


def _description(run: Run, grid: str) -> dict[str, JSON]:
    return run.grid_description(grid) | (run.result(f"slice.{grid}") or {})


def _bare_axes(points: Iterable[tuple[int, ...]]) -> dict[str, list[float]]:
    columns = zip(*points, strict=False)
    return {name: list(range(max(column) + 1)) for name, column in zip("ijklmn", columns, strict=False)}


def _attribute(value: JSON) -> Attribute:
    # NetCDF attributes have neither booleans nor nesting.
    if _is_plain(value):
        return value
    lists = isinstance(value, list) and value and all(map(_is_plain, value))
    alike = lists and len({isinstance(item, str) for item in value}) == 1
    return value if alike else json.dumps(value)


def _is_plain(value: JSON) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


_Writer = Callable[[Path], Any]


def _netcdf(run: Run) -> dict[str, _Writer]:
    def writer(grid: str) -> _Writer:
        return lambda path: dataset(run, grid).to_netcdf(path, engine="h5netcdf")

    return {f"{grid}.nc": writer(grid) for grid in run.grids()}


def _csv(run: Run) -> dict[str, _Writer]:
    def grid_writer(grid: str) -> _Writer:
        return lambda path: _write_rows(path, *_grid_rows(run, grid))

    def series_writer(name: str) -> _Writer:
        return lambda path: _write_rows(path, *_series_rows(run, name))

    def write_results(path: Path) -> None:
        described = {f"slice.{grid}": _description(run, grid) for grid in run.grids()}
        results = run.results() | {name: value for name, value in described.items() if value}
        text = json.dumps(_finite(results), indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    grids = {f"{grid}.csv": grid_writer(grid) for grid in run.grids()}
    series = {f"series.{name}.csv": series_writer(name) for name in run.series_names()}
    return {**grids, **series, "results.json": write_results}


def _vtk(run: Run) -> dict[str, _Writer]:
    def writer(grid: str) -> _Writer:
        return lambda path: write_vtk(path, dataset(run, grid))

    return {f"{grid}.vtk": writer(grid) for grid in run.grids()}


_WRITERS = {"netcdf": _netcdf, "csv": _csv, "vtk": _vtk}


def _grid_rows(run: Run, grid: str) -> tuple[list[str], Iterable[Sequence[Any]]]:
    table = _table(run, grid)
    places = list(table.axes.values())
    rows = [
        [
            *(place[i] for place, i in zip(places, index, strict=True)),
            *(row.get(metric, "") for metric in table.metrics),
        ]
        for index, row in table.points.items()
    ]
    return [*table.axes, *table.metrics], rows


def _series_rows(run: Run, name: str) -> tuple[list[str], Iterable[Sequence[Any]]]:
    rows = run.series(name)
    columns = list({column: None for row in rows for column in row})
    return columns, [[row.get(column, "") for column in columns] for row in rows]


def _write_rows(path: Path, header: list[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _finite(value: JSON) -> JSON:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case list():
            return [_finite(item) for item in value]
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case _:
            return value
