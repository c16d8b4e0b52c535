"""Differences of slices against those of the exact maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

from landscape.models import classifier
from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.landscape import axis_plane, difference, evaluate, random_line, random_plane
from thalweg.objective import Objective
from thalweg.store import Run, dataset, export, put_dataset


def maps(rtol, resolution=25, span=0.5, metrics=("loss",)):
    """The same plane's directions through two points of one network."""
    objective = classifier(nn.Tanh)
    here = random_plane(objective)
    away = torch.randn(objective.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = dataclasses.replace(here, center=here.center + 0.1 * away)
    return [evaluate(objective, plane, resolution, span, rtol, metrics) for plane in (here, there)]


@pytest.mark.parametrize("rtol", [0.05, 0.01])
def test_no_difference_is_further_from_the_exact_one_than_its_bound(rtol) -> None:
    a, b = maps(rtol)
    exact = np.subtract(*(found.values["loss"] for found in maps(None)))
    found = a - b
    off = np.abs(found.values["loss"] - exact)
    assert (off <= found.bounds["loss"] + 1e-14).all()
    known = a.evaluated & b.evaluated
    assert 0 < known.sum() < known.size
    np.testing.assert_array_equal(found.evaluated, known)
    assert (found.bounds["loss"][known] < 1e-13).all()
    assert (found.bounds["loss"][~known] > 1e-6).all()
    # The two errors are added: at points interpolated in both, of their sizes, which are near the exact ones.
    open_ = ~a.evaluated & ~b.evaluated
    due = rtol * (a.values["loss"] + b.values["loss"])
    np.testing.assert_allclose(found.bounds["loss"][open_], due[open_], rtol=4 * rtol)


def test_of_whole_maps_it_is_exact() -> None:
    a, b = maps(None, 5, metrics=("loss", "accuracy"))
    found = difference(a, b)
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(found.values[name], a.values[name] - b.values[name])
        assert (found.bounds[name] <= 1e-14 * np.abs(a.values[name]).max()).all()
    back = difference(b, a)
    np.testing.assert_array_equal(back.values["loss"], -found.values["loss"])
    assert not difference(a, a).values["loss"].any()
    assert found.told_apart() == np.mean(a.values["loss"] != b.values["loss"])
    assert difference(a, a).told_apart() == 0


def test_metrics_that_both_have() -> None:
    objective = classifier()
    line = random_line(objective)
    loss, both = evaluate(objective, line, 5), evaluate(objective, line, 5, metrics=["accuracy", "loss"])
    assert list((both - loss).values) == ["loss"]
    with pytest.raises(InvalidArgument, match="must have a metric in common, got loss and accuracy"):
        difference(loss, evaluate(objective, line, 5, metrics=["accuracy"]))


def test_where_either_is_not_finite_there_is_none() -> None:
    def hole(x):
        return torch.where(x[0] > 1, torch.inf, torch.where(x[1] > 1, torch.nan, (x**2).sum(0)))

    holes = surfaces.Surface("holes", hole, [0.5, 0.5])
    bowl = surfaces.Surface("bowl", lambda x: 2 * (x**2).sum(0), [0.5, 0.5])
    a, b = (evaluate(surface, axis_plane(surface), 9) for surface in (holes, bowl))
    x, y = np.meshgrid(a.axes["alpha"], a.axes["beta"], indexing="ij")
    due = np.where((x > 1) | (y > 1), np.nan, -(x**2) - y**2)
    np.testing.assert_allclose((a - b).values["loss"], due, rtol=1e-12)
    np.testing.assert_allclose((b - a).values["loss"], -due, rtol=1e-12)
    # Infinity less infinity is none either.
    assert np.isnan((a - a).values["loss"][x > 1]).all()


def test_axes_that_differ_are_refused() -> None:
    objective = classifier()
    plane, line = random_plane(objective), random_line(objective)
    found = evaluate(objective, plane, 5)
    with pytest.raises(
        InvalidArgument, match="the slices must have the same axes, got alpha, beta and alpha"
    ):
        difference(found, evaluate(objective, line, 5))
    for resolution, span, told in (
        (7, 1.0, "got 5 from -1 to 1 and 7 from -1 to 1"),
        ((5, 3), 1.0, "along beta, got 5 from -1 to 1 and 3 from -1 to 1"),
        (
            5,
            0.5,
            "along alpha, got 5 from -1 to 1 and 5 from -0.5 to 0.5: give both the same resolution and span",
        ),
    ):
        with pytest.raises(InvalidArgument) as caught:
            _ = found - evaluate(objective, plane, resolution, span)
        assert told in str(caught.value)


def test_it_says_what_it_is_of() -> None:
    a, b = maps(0.05)
    found = a - b
    assert found.limits == ("The two slices are around different points.", *a.plane.limits)
    assert found.caption[0].startswith("The loss differs by more than interpolation and rounding explain at ")
    assert found.caption[1] == f"First: {' '.join(a.caption)}"
    attributes = found.attributes()
    assert attributes["kind"] == "difference"
    assert attributes["first_points_evaluated"] == a.evaluated.sum()
    assert attributes["second_samples"] == 100


def test_it_is_exported_in_every_format(tmp_path) -> None:
    a, b = maps(0.05)
    found = a - b
    found.dataset.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    with Run.open(tmp_path / "run", kind="difference", settings={}) as run:
        put_dataset(run, "difference", found.dataset)
        back = dataset(run, "difference")
        names = {file.name for format in ("netcdf", "csv", "vtk") for file in export(run, format, tmp_path)}
    assert names == {"difference.nc", "difference.csv", "results.json", "difference.vtk"}
    for name in ("own.nc", "difference.nc"):
        with xr.open_dataset(tmp_path / name, engine="h5netcdf") as data:
            np.testing.assert_array_equal(data["loss"], found.values["loss"])
            np.testing.assert_array_equal(data["loss_bound"], found.bounds["loss"])
            np.testing.assert_array_equal(data["evaluated"], found.evaluated)
            np.testing.assert_array_equal(data["alpha"], a.axes["alpha"])
            assert data.attrs["first_error"] == a.error
    np.testing.assert_array_equal(back["loss"], found.values["loss"])


def test_one_model_in_other_microbatches_differs_by_its_rounding_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 4))
    data = torch.randn(200, 20), torch.arange(200) % 4
    a, b = (
        evaluate(obj, random_plane(obj), 9, rtol=None)
        for obj in (Objective(model, F.cross_entropy, data, microbatch=size) for size in (None, 7))
    )
    assert np.abs((a - b).values["loss"]).max() > 0
    assert (a - b).told_apart() == 0.0


def test_it_says_where_the_slices_differ_in_directions_or_samples() -> None:
    objective = classifier()
    plane = random_plane(objective)
    whole = evaluate(objective, plane, 5)

    def told(other) -> str:
        return " ".join((whole - other).limits)

    assert "different" not in told(evaluate(objective, plane, 5))
    # Directions of the same kind, but normalized by the weights of another point, are not the same.
    for turned in (random_plane(objective, seed=1), random_plane(objective, "layer")):
        assert "two slices have different directions" in told(evaluate(objective, turned, 5))
    fewer = evaluate(objective, plane, 5, samples=objective.samples // 2)
    assert "two slices rest on different samples" in told(fewer)
    assert "directions" not in (whole - fewer).limits[0]
    assert "different samples" in " ".join((whole - fewer).attributes()["limits"])
    line = random_line(objective)
    assert "different" not in " ".join((evaluate(objective, line, 5) - evaluate(objective, line, 5)).limits)
