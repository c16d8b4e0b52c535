"""A slice says what it rests on and, once that is measured, what it hides; so does everything exported of it."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from landscape.models import classifier, mixed
from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.landscape import axis_plane, evaluate, honesty, random_plane, trajectory_plane
from thalweg.objective import AbstractObjective, Objective
from thalweg.store import Run, dataset, export


class Counted(AbstractObjective):
    """An objective that counts its Hessian products."""

    def __init__(self, inner: AbstractObjective) -> None:
        self.inner, self.products = inner, 0
        self.name, self.batched = inner.name, inner.batched

    size = property(lambda self: self.inner.size)
    point = property(lambda self: self.inner.point)
    dtype = property(lambda self: self.inner.dtype)
    device = property(lambda self: self.inner.device)
    blocks = property(lambda self: self.inner.blocks)

    def fingerprint(self) -> str:
        return self.inner.fingerprint()

    def losses(self, thetas):
        return self.inner.losses(thetas)

    def at(self, theta=None):
        here = self.inner.at(theta)
        hvp = here.hvp

        def counted(v):
            self.products += 1 if v.dim() == 1 else v.shape[1]
            return hvp(v)

        here.hvp = counted
        return here


def test_what_is_hidden_is_measured_when_asked_for_and_kept() -> None:
    objective = Counted(surfaces.quadratic(condition_number=50, dim=6))
    plane = random_plane(objective, "none")
    found = evaluate(objective, plane, 7)
    assert (found.limits, objective.products) == (plane.limits, 0)
    assert "curvature_largest" not in found.attributes()
    hidden = found.honesty
    spent = objective.products
    assert spent > 0
    assert found.honesty is hidden
    # The axes of the bowl are its eigenvectors.
    assert hidden.largest.tolist() == pytest.approx([50 ** (i / 5) for i in (5, 4, 3)], rel=1e-2)
    assert hidden.smallest == pytest.approx(1, rel=1e-2)
    basis = torch.linalg.qr(plane.directions).Q
    inner = basis.T @ torch.diag(torch.tensor([50 ** (i / 5) for i in range(6)], dtype=torch.float64)) @ basis
    assert hidden.in_plane.tolist() == pytest.approx(torch.linalg.eigvalsh(inner).flip(0).tolist())
    attributes = found.attributes()
    assert attributes["curvature_in_plane"] == hidden.in_plane.tolist()
    assert attributes["curvature_largest"] == hidden.largest.tolist()
    assert attributes["degrees_to_largest"] == hidden.angles.tolist()
    assert [*attributes["honesty"], *attributes["limits"]] == list(hidden.sentences) == list(found.limits)
    assert objective.products == spent


def test_it_is_the_function_of_that_name() -> None:
    objective = classifier()
    plane = random_plane(objective)
    found = evaluate(objective, plane, 3)
    assert str(found.honesty) == str(honesty(objective, plane))
    # Known from elsewhere, it is not measured.
    known = honesty(objective, plane, k=1)
    other = dataclasses.replace(evaluate(objective, plane, 3), known=known)
    assert other.honesty is known
    assert other.attributes()["curvature_largest"] == known.largest.tolist()


def test_of_a_sample_it_is_that_of_the_sample() -> None:
    objective = classifier()
    plane = random_plane(objective)
    found = evaluate(objective, plane, 3, samples=30)
    assert str(found.honesty) == str(honesty(objective.sample(30), plane))


def test_an_objective_that_has_changed_is_refused() -> None:
    objective = mixed()
    found = evaluate(objective, random_plane(objective), 3)
    # A point of its own, as training moves it, changes nothing; statistics do.
    objective.set_point(objective.point + 1)
    with torch.no_grad():
        objective.model.norm.running_mean += 1
    with pytest.raises(InvalidArgument, match="the objective has changed since this slice was evaluated"):
        _ = found.honesty
    with torch.no_grad():
        objective.model.norm.running_mean -= 1
    assert found.honesty.limits == found.plane.limits


def test_without_its_objective_it_says_how_to_measure_it() -> None:
    objective = classifier()
    found = dataclasses.replace(evaluate(objective, random_plane(objective), 3), objective=None)
    with pytest.raises(InvalidArgument, match=r"tw.landscape.honesty\(obj, plane\) measures what it hides"):
        _ = found.honesty


def test_points_evaluated_and_interpolated_are_told_apart() -> None:
    objective = classifier(nn.Tanh)
    plane = random_plane(objective)
    found = evaluate(objective, plane, 31, 0.5)
    count = int(found.evaluated.sum())
    assert found.caption[1] == f"{count} of 961 points evaluated, the rest interpolated to 1 %."
    attributes = found.attributes()
    assert (attributes["points"], attributes["points_evaluated"]) == (961, count)
    assert evaluate(objective, plane, 3).caption[1] == "All 9 points evaluated."


def trajectory(objective: Objective):
    draw = torch.Generator().manual_seed(0)
    steps = [0.1 * torch.randn(objective.size, generator=draw, dtype=torch.float64) for _ in range(5)]
    return trajectory_plane(objective, [objective.point + step for step in steps])


@pytest.mark.parametrize("rtol", [None, 0.01])
def test_every_export_tells_what_is_known(tmp_path, rtol) -> None:
    objective = classifier(nn.Tanh)
    plane = trajectory(objective)
    with Run.open(tmp_path / "run", kind="slice", settings={}) as run:
        found = evaluate(objective, plane, 15, 0.5, rtol, samples=80, run=run)
        data = dataset(run, "slice")
        for format in ("netcdf", "csv", "vtk"):
            export(run, format, tmp_path)
    np.testing.assert_array_equal(data["alpha"], found.axes["alpha"])
    np.testing.assert_array_equal(data["loss"], found.values["loss"])
    told = {
        "samples": 80,
        "samples_of": 100,
        "variance_explained": plane.facts["variance_explained"],
        "largest_distance": plane.facts["largest_distance"],
        "sampling_error_center": found.sampling.losses["center"].stderr,
        "points_evaluated": int(found.evaluated.sum()),
    }
    with xr.open_dataset(tmp_path / "slice.nc", engine="h5netcdf") as back:
        assert {name: back.attrs[name] for name in told} == pytest.approx(told)
        assert list(back.attrs["limits"]) == list(plane.limits)
    results = json.loads((tmp_path / "results.json").read_text())["slice.slice"]
    assert {name: results[name] for name in told} == pytest.approx(told)
    with (tmp_path / "slice.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == found.values["loss"].ravel().tolist()
    fields = (tmp_path / "slice.vtk").read_text().split("\n")
    for name, value in told.items():
        place = fields.index(f"{name} 1 1 double")
        assert float(fields[place + 1]) == pytest.approx(value)


def test_a_surface_of_two_dimensions_hides_nothing(tmp_path) -> None:
    surface = surfaces.booth()
    found = evaluate(surface, axis_plane(surface), 5)
    assert found.honesty.sentences == found.limits == ()
    found.dataset.to_netcdf(tmp_path / "slice.nc", engine="h5netcdf")


def test_what_was_measured_is_in_the_file(tmp_path) -> None:
    objective = classifier()
    found = evaluate(objective, random_plane(objective), 5)
    _ = found.honesty
    found.dataset.to_netcdf(tmp_path / "slice.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "slice.nc", engine="h5netcdf") as back:
        assert list(back.attrs["curvature_largest"]) == found.honesty.largest.tolist()
        assert list(back.attrs["honesty"]) == list(found.honesty.sentences[:3])
        assert back.attrs["loss_center"] == pytest.approx(float(objective.loss()))


def test_a_slice_can_be_pickled_without_its_model() -> None:
    found = evaluate(classifier(nn.Tanh), random_plane(classifier(nn.Tanh)), 5)
    again = pickle.loads(pickle.dumps(found))
    assert again.objective is None
    np.testing.assert_array_equal(again.values["loss"], found.values["loss"])
    with pytest.raises(InvalidArgument, match="does not hold its objective"):
        _ = again.honesty
