"""Slices in run folders: on samples, with what they hide, and of checkpoints that go away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from thalweg import problems
from thalweg.errors import InvalidArgument, MissingData, RunConflict, ThalwegError
from thalweg.landscape import random_plane
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
