"""What other programs read from an exported run is what the run holds."""

import csv
import json
import math

import numpy as np
import pytest
import xarray

from thalweg.errors import InvalidArgument, MissingData
from thalweg.store import Run, dataset, export, put_dataset

ALPHA, BETA = [-1.0, 0.0, 1.0], [0.1, 0.2]
SLICE = {
    "axes": {"alpha": ALPHA, "beta": BETA},
    "metrics": ["loss", "accuracy"],
    "normalization": "filter",
    "seed": 0,
    "span": 1.5,
    "adaptive": True,
    "where": {"layer": [1, None]},
}


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "a", kind="survey", settings={}) as run:
        run.put_result("slice.plane", SLICE)
        run.put_point("plane", (0, 1), {"loss": 1 / 3, "accuracy": 0.5})
        run.put_point("plane", (2, 0), {"loss": math.inf})
        run.put_row("train", 0, {"loss": 2.0})
        run.put_row("train", 1, {"loss": 1 / 3, "rate": 0.1})
        run.put_result("spectrum", {"largest": math.nan, "smallest": [-math.inf, 0.1]})
        yield run


def rows(file):
    with file.open(newline="") as text:
        return list(csv.reader(text))


def test_a_dataset_has_axes_metrics_and_attributes(run):
    data = dataset(run, "plane")
    assert dict(data.sizes) == {"alpha": 3, "beta": 2}
    assert list(data.data_vars) == ["loss", "accuracy"]
    assert data.loss.dims == ("alpha", "beta")
    nan = math.nan
    np.testing.assert_array_equal(data.loss, [[nan, 1 / 3], [nan, nan], [math.inf, nan]])
    np.testing.assert_array_equal(data.accuracy, [[nan, 0.5], [nan, nan], [nan, nan]])
    assert data.loss.sel(alpha=-1.0, beta=0.2) == 1 / 3
    assert data.attrs == {
        "normalization": "filter",
        "seed": 0,
        "span": 1.5,
        "adaptive": "true",
        "where": '{"layer": [1, null]}',
    }


def test_netcdf_round_trips(run, tmp_path):
    assert export(run, "netcdf", tmp_path / "out") == [tmp_path / "out" / "plane.nc"]
    with xarray.open_dataset(tmp_path / "out" / "plane.nc", engine="h5netcdf") as data:
        xarray.testing.assert_identical(data.load(), dataset(run, "plane"))


def test_csv_holds_grids_series_and_results(run, tmp_path):
    files = export(run, "csv", tmp_path / "out")
    assert [file.name for file in files] == ["plane.csv", "series.train.csv", "results.json"]
    grid, series, results = files
    assert rows(grid) == [
        ["alpha", "beta", "loss", "accuracy"],
        ["-1.0", "0.2", repr(1 / 3), "0.5"],
        ["1.0", "0.1", "inf", ""],
    ]
    assert rows(series) == [["step", "loss", "rate"], ["0", "2.0", ""], ["1", repr(1 / 3), "0.1"]]
    assert json.loads(results.read_text()) == {
        "slice.plane": SLICE,
        "spectrum": {"largest": "NaN", "smallest": ["-Infinity", 0.1]},
    }


def test_an_export_replaces_the_one_before(run, tmp_path):
    export(run, "csv", tmp_path)
    run.put_point("plane", (1, 1), {"loss": 0.0})
    export(run, "csv", tmp_path)
    assert len(rows(tmp_path / "plane.csv")) == 4
    assert not list(tmp_path.glob(".*"))


def test_a_line_and_a_grid_without_a_description(run):
    run.put_point("early", (2,), {"loss": 1.0})
    run.put_point("early", (0,), {"norm": 2.0})
    data = dataset(run, "early")
    assert dict(data.sizes) == {"i": 3}
    np.testing.assert_array_equal(data.loss, [math.nan, math.nan, 1.0])
    np.testing.assert_array_equal(data.norm, [2.0, math.nan, math.nan])


def test_a_grid_without_points_is_all_missing(run):
    run.put_result("slice.later", SLICE)
    assert dataset(run, "later").loss.isnull().all()


@pytest.mark.parametrize("index", [(3, 0), (0,), (0, 2)])
def test_points_off_the_axes_are_refused(run, index):
    run.put_point("plane", index, {"loss": 1.0})
    with pytest.raises(InvalidArgument, match="must lie on its axes alpha, beta"):
        dataset(run, "plane")


def test_wrong_names_are_refused(run, tmp_path):
    with pytest.raises(MissingData, match="no grid 'plain': it has plane"):
        dataset(run, "plain")
    with pytest.raises(InvalidArgument, match="'netcdf' or 'csv' or 'vtk', got 'xlsx'"):
        export(run, "xlsx", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="cannot be used"):
        export(run, "csv", tmp_path / "file")


def test_a_hostile_grid_name_writes_nowhere(run, tmp_path):
    run._database.execute("UPDATE points SET grid = '../escaped'")
    with pytest.raises(InvalidArgument, match="must be 1 to 200 letters"):
        export(run, "csv", tmp_path / "out")
    assert not (tmp_path / "escaped.csv").exists()


def test_a_dataset_is_put_and_comes_back(run, tmp_path):
    axes = {"alpha": [0.0, 0.5], "beta": [1.0, 2.0, 4.0]}
    values = np.array([[1.5, math.nan, math.inf], [0.0, -1.0, 1 / 3]])
    told = {"kind": "random", "error": 0.01, "limits": ["a", "b"]}
    found = xarray.Dataset({"loss": (("alpha", "beta"), values)}, coords=axes, attrs=told)
    run.put_point("map", (7, 7), {"loss": 1.0})
    put_dataset(run, "map", found)
    back = dataset(run, "map")
    np.testing.assert_array_equal(back.loss, values)
    np.testing.assert_array_equal(back.beta, axes["beta"])
    assert back.attrs == {"kind": "random", "error": 0.01, "limits": ["a", "b"]}
    assert run.evaluations("map") == 6
    results = json.loads(export(run, "csv", tmp_path / "out")[-1].read_text())
    assert results["slice.map"] == {"axes": axes, "metrics": ["loss"]} | told


def test_a_result_adds_to_a_description(run):
    run.describe_grid(
        "plane", {"axes": {"alpha": ALPHA, "beta": BETA}, "metrics": ["loss"], "seed": 5, "kind": "eigen"}
    )
    data = dataset(run, "plane")
    assert (data.attrs["seed"], data.attrs["kind"]) == (0, "eigen")
    assert list(data.data_vars) == ["loss", "accuracy"]
    assert run.grid_description("other") == {}
