"""Slices in run folders: on samples, with what they hide, and of checkpoints that go away."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file
from torch import nn

from thalweg import problems
from thalweg.errors import InvalidArgument, MissingData, NotDifferentiable, RunConflict, ThalwegError
from thalweg.landscape import Honesty, Slice, evaluate, random_plane
from thalweg.problems import Training
from thalweg.store import Run, dataset, export
from thalweg.surveys import Subject, make_subject, resolve, train_into
from thalweg.surveys.landscape import choose_plane, on_sample, slice_landscape


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Five sets of weights of the wine network, each a random step from the last."""
    model = problems.get("wine", hidden=(3,)).make_model()
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)
    for i in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
        save_file(model.state_dict(), folder / f"step-{i}.safetensors")
    return folder


def subject(trajectory: Path | None = None) -> Subject:
    return make_subject(resolve("wine", hidden=(3,)), trajectory=trajectory)


def test_the_run_and_its_exports_hold_what_the_slice_hides(tmp_path: Path, checkpoints: Path) -> None:
    looked_at = subject(checkpoints)
    plane = choose_plane(looked_at)
    found = slice_landscape(looked_at, plane, tmp_path / "run", resolution=5)
    assert found.slice.honesty is found.honesty
    with Run.read(tmp_path / "run") as run:
        attributes = dataset(run, "slice").attrs
        export(run, "csv", tmp_path / "csv")
    written = json.loads((tmp_path / "csv" / "results.json").read_text())["slice.slice"]
    told = found.slice.attributes()
    for name in ("curvature_largest", "degrees_to_largest", "honesty", "limits"):
        assert attributes[name] == written[name] == told[name]
    assert attributes["variance_explained"] == plane.facts["variance_explained"]
    assert attributes["largest_distance"] == plane.facts["largest_distance"]


def test_a_sample_is_looked_at_in_place_of_the_data(tmp_path: Path) -> None:
    whole = subject()
    part = on_sample(whole, 50, seed=3)
    plane = random_plane(part.objective)
    found = slice_landscape(part, plane, tmp_path / "run", resolution=5)
    assert (found.slice.sampling.samples, found.slice.sampling.of, found.slice.sampling.seed) == (50, 142, 3)
    assert float(part.objective.loss()) == pytest.approx(found.slice.values["loss"][2, 2])
    for other in (whole, on_sample(whole, 50, seed=4)):
        with pytest.raises(RunConflict, match="other objective"):
            slice_landscape(other, plane, tmp_path / "run", resolution=5)
    with pytest.raises(InvalidArgument, match="samples must be at most the 142 of the data, got 143"):
        on_sample(whole, 143, seed=0)
    with pytest.raises(InvalidArgument, match="samples is for a model on data: booth has none"):
        on_sample(make_subject(resolve("booth")), 10, seed=0)


@pytest.mark.parametrize("gone", ["one", "all"])
def test_checkpoints_that_vanish_are_one_line(checkpoints: Path, gone: str) -> None:
    looked_at = subject(checkpoints)
    if gone == "one":
        (checkpoints / "step-2.safetensors").unlink()
    else:
        shutil.rmtree(checkpoints)
    with pytest.raises(MissingData, match=r"^checkpoint [^\n]*safetensors was not found$"):
        choose_plane(looked_at, "trajectory")


@pytest.mark.parametrize("gone", ["weights of one epoch", "folder"])
def test_a_run_that_vanishes_is_one_line(tmp_path: Path, gone: str) -> None:
    out = tmp_path / "trained"
    train_into("wine", out, training=Training("sgd", lr=0.1, epochs=4), parameters={"hidden": (3,)})
    looked_at = subject(out)
    if gone == "folder":
        shutil.rmtree(out)
    else:
        next((out / "tensors").glob("epoch-0002*")).unlink()
    with pytest.raises(ThalwegError, match=r"^[^\n]+$"):
        choose_plane(looked_at, "trajectory")


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("trajectory", "trajectory"),
        ("trajectory-informed", "trajectory-informed"),
        ("eigen", "eigenvectors"),
        ("gradient-eigen", "gradient eigenvectors"),
        ("gradient", "gradient"),
    ],
)
def test_planes_by_name(checkpoints: Path, choice: str, kind: str) -> None:
    of = subject(checkpoints)
    plane = choose_plane(of, choice)
    assert plane.kind == kind
    assert torch.equal(plane.center, of.objective.point)
    if choice == "gradient":
        slope = of.objective.gradient()
        first = plane.directions[:, 0]
        assert abs(float(first @ slope / first.norm() / slope.norm())) == pytest.approx(1, abs=1e-5)
    if choice == "gradient-eigen":
        assert plane.facts["matrix"] == "gradient_covariance"


def refused(*_: Any, **__: Any) -> Honesty:
    raise NotDifferentiable("no second derivative here")


def test_a_slice_is_kept_where_what_it_hides_cannot_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = subject()
    plane = choose_plane(looked_at)
    monkeypatch.setattr("thalweg.surveys.landscape.honesty", refused)
    found = slice_landscape(looked_at, plane, tmp_path / "run", resolution=5)
    told = "what the plane hides could not be measured: no second derivative here"
    assert found.honesty is None
    assert found.slice.known is None
    assert found.slice.note == told
    assert found.slice.caption[-1] == f"W{told[1:]}."
    assert float(found.slice.values["loss"][2, 2]) == pytest.approx(float(looked_at.objective.loss()))
    with Run.read(tmp_path / "run") as run:
        data = dataset(run, "slice")
        assert data.attrs["note"] == told
        np.testing.assert_array_equal(data["loss"], found.slice.values["loss"])
        assert run.result("honesty") is None
        np.testing.assert_array_equal(run.tensors("plane")["center"], plane.center)
    # Any other error is not one of the map.
    monkeypatch.setattr("thalweg.surveys.landscape.honesty", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slice_landscape(looked_at, plane, tmp_path / "run", resolution=5)


def test_a_note_that_is_there_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.surveys.landscape.honesty", refused)

    def noted(*given: Any, **options: Any) -> Slice:
        return replace(evaluate(*given, **options), note="it is coarse")

    monkeypatch.setattr("thalweg.surveys.landscape.evaluate", noted)
    looked_at = subject()
    found = slice_landscape(looked_at, choose_plane(looked_at), tmp_path / "run", resolution=5)
    assert found.slice.note.startswith("it is coarse; what the plane hides could not be measured")


def test_the_way_to_make_it_again_is_the_last_one(tmp_path: Path) -> None:
    looked_at = subject()
    plane = choose_plane(looked_at)
    for resolution, command in (
        (3, "thalweg landscape wine -r 3"),
        (5, "thalweg landscape wine -r 5"),
        (5, None),
    ):
        slice_landscape(looked_at, plane, tmp_path / "run", resolution=resolution, command=command)
        with Run.read(tmp_path / "run") as run:
            told = run.result("provenance")
            assert told["command"] == (command or "thalweg landscape wine")
            assert dataset(run, "slice").sizes == {"alpha": resolution, "beta": resolution}
    assert told["objective"] == f"sha256 {looked_at.objective.fingerprint()[:16]}…"


def test_the_path_is_in_every_file(tmp_path: Path, checkpoints: Path) -> None:
    """Each checkpoint's nearest place in the plane, by solving for it, and how far away it is."""
    looked_at = subject(checkpoints)
    plane = choose_plane(looked_at)
    found = slice_landscape(looked_at, plane, tmp_path / "run", resolution=5)
    model, points = problems.get("wine", hidden=(3,)).make_model(), []
    for i in range(5):
        model.load_state_dict(load_file(checkpoints / f"step-{i}.safetensors"))
        points.append(nn.utils.parameters_to_vector(model.parameters()).detach().double().numpy())
    offsets = (np.stack(points) - plane.center.double().numpy()).T
    directions = plane.directions.double().numpy()
    coordinates = np.linalg.lstsq(directions, offsets, rcond=None)[0]
    told = found.slice.attributes()
    # Weights of order one, in single precision.
    np.testing.assert_allclose([told["path_alpha"], told["path_beta"]], coordinates, atol=1e-5)
    away = np.linalg.norm(offsets - directions @ coordinates, axis=0)
    np.testing.assert_allclose(told["path_distances"], away, atol=1e-5)
    with Run.read(tmp_path / "run") as run:
        export(run, "netcdf", tmp_path)
    found.slice.dataset.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    for file in ("slice.nc", "own.nc"):
        with xr.open_dataset(tmp_path / file, engine="h5netcdf") as back:
            for name in ("path_alpha", "path_beta", "path_distances"):
                assert back.attrs[name].tolist() == told[name]
