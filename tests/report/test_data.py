from __future__ import annotations

import json
import math
from pathlib import Path

from report.conftest import Build
from report.synthetic import loss_of
from thalweg.report import collect
from thalweg.report.data import finite
from thalweg.store import Run


def test_everything_is_there_and_json(folder: Path) -> None:
    with Run.read(folder) as run:
        data = collect(run)
    assert json.loads(json.dumps(finite(data), allow_nan=False))["format"] == 1
    assert data["missing"] == []
    assert [described["name"] for described in data["slices"]] == ["trajectory", "random", "line"]
    assert data["slices"][0]["values"]["loss"][0][8] == loss_of(-1.0, 1.0)
    assert math.isnan(data["slices"][0]["values"]["loss"][8][8])
    assert data["slices"][0]["count"] == 81
    assert len(data["series"]["training"]) == 5
    assert data["notes"] == ["the path was cut at 3 points"]


def test_what_is_missing_is_named(build: Build) -> None:
    folder = build(only=("target", "gradient"))
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        run.put_point("random", (0, 0), {"loss": 1.0})
    with Run.read(folder) as run:
        missing = collect(run)["missing"]
    assert "slice along a random plane (slice.random), of which 1 points are evaluated" in missing
    assert "trace" in missing
    assert not any("gradient" in line for line in missing)


def test_points_outside_of_the_axes_are_left_out(build: Build) -> None:
    folder = build()
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        run.put_point("random", (99, 0), {"loss": 1.0})
    with Run.read(folder) as run:
        values = next(s for s in collect(run)["slices"] if s["name"] == "random")["values"]["loss"]
    assert len(values) == 9


def test_finite_replaces_what_json_lacks() -> None:
    assert finite({"a": [1.5, math.nan, [math.inf]], "b": "NaN"}) == {"a": [1.5, None, [None]], "b": "NaN"}
