from __future__ import annotations

import json
import math
from pathlib import Path

from report.conftest import Build
from report.synthetic import loss_of, put_plane
from thalweg import report
from thalweg.report import collect
from thalweg.report.data import finite
from thalweg.report.exhibit import facts_of
from thalweg.report.table import groups
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


def test_interpolated_points_do_not_count_as_evaluated(build: Build) -> None:
    folder = build()
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        put_plane(run, "random", 9, path=False, points=81, evaluations=7, error=0.012)
        for k in range(81):
            index = (k // 9, k % 9)
            run.put_point("random", index, run.points("random")[index] | {"evaluated": float(k < 7)})
        caption = "7 of 81 points evaluated, the rest interpolated to 1.2 %."
        run.put_result("slice.random", run.result("slice.random") | {"caption": [caption]})
    with Run.read(folder) as run:
        data = collect(run)
    described = next(found for found in data["slices"] if found["name"] == "random")
    assert described["count"] == 7
    told = dict(facts_of(described))
    assert told["points evaluated"] == "7 of 81"
    assert told["largest relative error of an interpolated point"] == "0.012"
    (group,) = [group for group in groups(data) if group.title == "Plane random"]
    assert group.cost.startswith("7 evaluations")
    assert {("points", "81"), ("points evaluated", "7")} <= {(row.quantity, row.value) for row in group.rows}
    assert caption in report.write(folder).read_text(encoding="utf-8")


def test_a_slice_that_was_interrupted_has_its_evaluated_points(build: Build) -> None:
    folder = build(only=("target",))
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        for k in range(3):
            run.put_point("random.evaluated", (k,), {"alpha": 0.1 * k, "beta": 0.0, "loss": 1.0})
    with Run.read(folder) as run:
        missing = collect(run)["missing"]
    assert "slice along a random plane (slice.random), of which 3 points are evaluated" in missing


def test_points_outside_of_the_axes_are_left_out(build: Build) -> None:
    folder = build()
    with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": 9}) as run:
        run.put_point("random", (99, 0), {"loss": 1.0})
    with Run.read(folder) as run:
        values = next(s for s in collect(run)["slices"] if s["name"] == "random")["values"]["loss"]
    assert len(values) == 9


def test_finite_replaces_what_json_lacks() -> None:
    assert finite({"a": [1.5, math.nan, [math.inf]], "b": "NaN"}) == {"a": [1.5, None, [None]], "b": "NaN"}
