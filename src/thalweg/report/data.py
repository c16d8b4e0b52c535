"""What a report shows, gathered from a run folder into plain values."""

from __future__ import annotations

import math
from typing import Any

from thalweg.landscape.evaluated import SUFFIX
from thalweg.store import JSON, Run

STAGES = {
    "target": "what was looked at",
    "training": "training",
    "quality": "losses and accuracies",
    "gradient": "gradient",
    "eigenpairs": "extreme eigenvalues",
    "trace": "trace",
    "density": "spectral density",
    "classification": "kind of critical point",
    "sharpness": "sharpness",
    "stability": "largest stable rate",
    "slice.line": "slice along a line",
    "slice.random": "slice along a random plane",
    "slice.trajectory": "slice along the training path",
    "slice.eigen": "slice along eigenvectors",
    "verdict": "verdict",
    "provenance": "how it was made",
}
"""The results of a whole survey and what they are called, in the order in which a report tells of them."""

_SLICE = "slice."
_MAP_ORDER = ("trajectory", "domain", "random", "eigen")


def collect(run: Run) -> dict[str, Any]:
    """Everything that a report, or another viewer, shows of `run`, as values that JSON has words for.

    Keys: "format", 1; "run", its name, kind, time of creation and settings; "results", all but slices by name;
    "slices", each its description with "name", "values" (metric to nested lists over the axes, None where a
    point is not there), "seconds" and "count" of points that were evaluated, not interpolated, planes along the path
    first;
    "series"; "seconds" by result; "notes"; "missing", what a whole survey has and this run lacks, in words.
    """
    results, durations = run.results(), run.seconds()
    slices = [
        _slice(run, name.removeprefix(_SLICE), description, durations[name])
        for name, description in results.items()
        if name.startswith(_SLICE) and isinstance(description, dict)
    ]
    return {
        "format": 1,
        "run": {
            "name": run.path.resolve().name,
            "kind": run.kind,
            "created": run.created,
            "settings": run.settings,
        },
        "results": {name: value for name, value in results.items() if not name.startswith(_SLICE)},
        "slices": sorted(slices, key=_order),
        "series": {name: run.series(name) for name in run.series_names()},
        "seconds": durations,
        "notes": run.notes(),
        "missing": [_missing(run, name) for name in STAGES if name not in results],
    }


def finite(value: JSON) -> JSON:
    """`value` with None for every number that is not finite, for which strict JSON has no word."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case list():
            return [finite(item) for item in value]
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case _:
            return value


def _slice(run: Run, grid: str, description: dict[str, JSON], duration: float) -> dict[str, JSON]:
    points = run.points(grid)
    shape = [len(axis) for axis in description.get("axes", {}).values()]
    metrics = description.get("metrics") or sorted({metric for row in points.values() for metric in row})
    values = {metric: _empty(shape) for metric in metrics}
    for index, row in points.items():
        if len(index) == len(shape) and all(i < n for i, n in zip(index, shape, strict=True)):
            for metric in values.keys() & row.keys():
                _place(values[metric], index, row[metric])
    count = sum(1 for row in points.values() if row.get("evaluated", 1.0))
    return {"name": grid, **description, "values": values, "seconds": duration, "count": count}


def _empty(shape: list[int]) -> Any:
    return [_empty(shape[1:]) for _ in range(shape[0])] if shape else None


def _place(nested: Any, index: tuple[int, ...], value: float) -> None:
    for i in index[:-1]:
        nested = nested[i]
    nested[index[-1]] = value


def _order(described: dict[str, JSON]) -> tuple[bool, int]:
    name = described["name"]
    return not described.get("path"), _MAP_ORDER.index(name) if name in _MAP_ORDER else len(_MAP_ORDER)


def _missing(run: Run, name: str) -> str:
    grid = name.removeprefix(_SLICE)
    # A map comes at the end, the evaluated points as they are made.
    done = len(run.points(f"{grid}{SUFFIX}") or run.points(grid)) if name.startswith(_SLICE) else 0
    called = STAGES[name] if name in STAGES[name] else f"{STAGES[name]} ({name})"
    return called + (f", of which {done:,} points are evaluated" if done else "")
