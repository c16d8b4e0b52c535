"""Plane slices in the report: a contour map and a surface each."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg import plots
from thalweg.numbers import number
from thalweg.plots.arrays import Floats
from thalweg.report.exhibit import Exhibit, csv_text, facts_of
from thalweg.report.image import png, svg

_AXES = ("α", "β")


def map_exhibit(described: dict[str, Any], minima: list[list[float]]) -> Exhibit:
    """The exhibit of a plane slice as `collect` describes it; `minima`: known ones, in coordinates of θ."""
    x, y = (np.asarray(axis, dtype=np.float64) for axis in described["axes"].values())
    loss = np.array(described["values"]["loss"], dtype=np.float64)
    loss[~np.isfinite(loss)] = np.nan
    heights = plots.Heights.of(loss)
    path, truth = described.get("path"), described.get("path_loss")
    labels = _labels(described)
    origin = described.get("origin")
    wells = (
        [[value - zero for value, zero in zip(well, origin, strict=True)] for well in minima]
        if origin
        else None
    )
    flat = plots.contours(
        x,
        y,
        loss,
        labels=labels,
        path=path,
        path_values=truth,
        minima=wells or None,
        point=None if origin is not None else (0.0, 0.0),
        heights=heights,
    )
    solid = plots.surface(x, y, loss, labels=_AXES, path=path, path_values=truth, heights=heights)
    summary = _summary(x, y, loss, labels, path)
    return Exhibit(
        f"slice-{described['name']}",
        described.get("title") or f"Slice “{described['name']}”",
        [
            (svg(flat), f"Contour map of the loss. {summary}"),
            (
                png(solid),
                f"The same loss as a surface in three dimensions, seen from above and the side. {summary}",
            ),
        ],
        described.get("caption", []) + heights.remarks("loss") + _path_remarks(x, y, loss, path, truth),
        [
            *described.get("limits", []),
            f"Between the grid's points, {number(x[1] - x[0], 2)} by {number(y[1] - y[0], 2)} apart, "
            "nothing was measured: narrower valleys and walls do not show, or show as teeth.",
        ],
        facts_of(described),
        [("Values", _grid_csv(described, x, y)), *_path_csv(described, x, y, loss)],
    )


def _labels(described: dict[str, Any]) -> tuple[str, str]:
    given = [*described.get("labels", []), "", ""]
    first, second = (f"{axis}: {label}" if label else axis for axis, label in zip(_AXES, given, strict=False))
    return first, second


def _summary(
    x: Floats, y: Floats, loss: Floats, labels: tuple[str, str], path: list[list[float]] | None
) -> str:
    missing = int(np.isnan(loss).sum())
    parts = [f"Across, {labels[0]} from {_span(x)}; up, {labels[1]} from {_span(y)}."]
    if missing < loss.size:
        low = np.unravel_index(np.nanargmin(loss), loss.shape)
        high = np.unravel_index(np.nanargmax(loss), loss.shape)
        parts.append(
            f"The loss is lowest, {number(float(loss[low]))}, at {_pair(x[low[0]], y[low[1]])} "
            f"and highest, {number(float(loss[high]))}, at {_pair(x[high[0]], y[high[1]])}."
        )
    if missing:
        parts.append(f"{missing} of {loss.size} points have no finite value.")
    if path:
        parts.append(f"A path of {len(path)} points runs from {_pair(*path[0])} to {_pair(*path[-1])}.")
    return " ".join(parts)


def _path_remarks(
    x: Floats, y: Floats, loss: Floats, path: list[list[float]] | None, truth: list[float] | None
) -> list[str]:
    if not path or truth is None:
        return []
    shown = plots.bilinear(x, y, loss, path)
    off = np.abs(shown - np.asarray(truth))
    remarks = ["A point of the path is filled, and in the surface lifted, by its true loss."]
    # Differences below the digits written are none.
    seen = off > 1e-3 * np.abs(truth)
    if seen.any():
        worst = int(np.nanargmax(off))
        remarks.append(
            f"At point {worst} of the path the map, interpolated, is furthest from the true loss: "
            f"{number(float(shown[worst]))} against {number(truth[worst])}."
        )
    return remarks


def _grid_csv(described: dict[str, Any], x: Floats, y: Floats) -> str:
    across, up = np.meshgrid(x, y, indexing="ij")
    columns: dict[str, list[Any]] = {"alpha": across.ravel().tolist(), "beta": up.ravel().tolist()}
    for metric, values in described["values"].items():
        columns[metric] = np.array(values, dtype=np.float64).ravel().tolist()
    return csv_text(columns)


def _path_csv(described: dict[str, Any], x: Floats, y: Floats, loss: Floats) -> list[tuple[str, str]]:
    path = described.get("path")
    if not path:
        return []
    columns: dict[str, list[Any]] = {"point": list(range(len(path)))}
    columns |= {"alpha": [a for a, _ in path], "beta": [b for _, b in path]}
    if described.get("distances"):
        columns["distance_from_plane"] = described["distances"]
    if described.get("path_loss"):
        columns["true_loss"] = described["path_loss"]
    columns["loss_of_map"] = plots.bilinear(x, y, loss, path).tolist()
    return [("Path", csv_text(columns))]


def _span(axis: Floats) -> str:
    return f"{number(float(axis[0]))} to {number(float(axis[-1]))}"


def _pair(a: float, b: float) -> str:
    return f"({number(float(a), 3)}, {number(float(b), 3)})"
