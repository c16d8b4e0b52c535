"""Surveys of weights that are there already: checkpoints and trajectories."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from surveys.oracle import loss_at
from thalweg import problems
from thalweg.errors import InvalidArgument, MissingData, RunConflict, UnsafeFile
from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys import Settings, make_subject, resolve, survey, train_into

# Single-precision means of 40 terms of order 1: some 2⁻²⁴ each.
LOSS = {"rel": 1e-5}


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=draw)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def net(seed: int) -> Net:
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = Net()
    # Running statistics that a checkpoint must bring along.
    model(data()[0] * (1 + seed))
    torch.set_rng_state(state)
    return model.eval()


def target() -> tuple[nn.Module, Any, Any]:
    return net(0), cross_entropy, data()


def as_safetensors(model: nn.Module, path: Path) -> Path:
    save_file(model.state_dict(), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_torch(model: nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_training_state(model: nn.Module, path: Path) -> Path:
    prefixed = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": prefixed, "epoch": 3, "loss": 0.5}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


@pytest.mark.parametrize("write", [as_safetensors, as_torch, as_training_state])
def test_checkpoint_file(tmp_path: Path, coarse: Settings, write: Callable[[nn.Module, Path], Path]) -> None:
    file = write(net(1), tmp_path / "weights")
    found = survey(target(), tmp_path / "run", settings=coarse, checkpoint=file)
    assert found.results["training"] == {"source": f"checkpoint {file}"}
    measured = found.results["quality"]["train"]["loss"]["value"]
    assert measured == pytest.approx(loss_at(net(1), cross_entropy, *data()), **LOSS)
    # Far beyond the tolerance above: another model's loss would be seen.
    assert abs(measured - loss_at(net(0), cross_entropy, *data())) > 0.01


def test_model_in_memory_gets_its_own_weights_back(tmp_path: Path, coarse: Settings) -> None:
    model, loss_fn, samples = target()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    file = as_safetensors(net(1), tmp_path / "weights")
    objective = Objective(model, loss_fn, samples)
    survey(objective, tmp_path / "run", settings=coarse, checkpoint=file)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    # Also after an error, here in a folder that is taken.
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(RunConflict):
        survey(objective, tmp_path / "taken", settings=coarse, checkpoint=file)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_other_checkpoint_in_the_same_folder_is_refused(tmp_path: Path, coarse: Settings) -> None:
    first, second = (as_safetensors(net(seed), tmp_path / f"{seed}") for seed in (1, 2))
    survey(target(), tmp_path / "run", settings=coarse, checkpoint=first)
    with pytest.raises(RunConflict, match="other start"):
        survey(target(), tmp_path / "run", settings=coarse, checkpoint=second)


def test_other_trajectory_to_the_same_point_is_refused(tmp_path: Path, coarse: Settings) -> None:
    first, second = (folder_of([net(seed), net(9)], tmp_path / f"t{seed}") for seed in (1, 2))
    survey(target(), tmp_path / "run", settings=coarse, trajectory=first)
    with pytest.raises(RunConflict, match="other start"):
        survey(target(), tmp_path / "run", settings=coarse, trajectory=second)


def test_run_folder_as_checkpoint_and_trajectory(tmp_path: Path, coarse: Settings) -> None:
    wine = problems.get("wine", hidden=(3,))
    trained = train_into(wine, tmp_path / "trained", training=Training("adam", lr=0.01, epochs=4), seed=1)
    found = survey(wine, tmp_path / "run", settings=coarse, checkpoint=trained.path, trajectory=trained.path)
    for split in ("train", "test"):
        assert found.results["quality"][split] == trained.results["quality"][split]
    assert len(found.results["slice.trajectory"]["path"]) == 5
    with Run.read(trained.path) as run:
        losses = [row["loss"] for row in run.series("training")]
    assert found.results["slice.trajectory"]["path_loss"] == pytest.approx(losses, rel=1e-6)
    with Run.read(found.path) as run:
        assert run.series_names() == []
    only_checkpoint = survey(wine, tmp_path / "other", settings=coarse, checkpoint=trained.path)
    assert only_checkpoint.results["slice.trajectory"] is None
    assert only_checkpoint.results["quality"] == found.results["quality"]


def folder_of(models: list[nn.Module], folder: Path) -> Path:
    folder.mkdir()
    for epoch, model in enumerate(models):
        # As many tools name them: the tenth must come after the second.
        as_safetensors(model, folder / f"epoch_{epoch + 8}")
    return folder


def test_trajectory_of_files_ends_at_the_last(tmp_path: Path, coarse: Settings) -> None:
    models = [net(seed) for seed in (3, 4, 5, 6)]
    found = survey(target(), tmp_path / "run", settings=coarse, trajectory=folder_of(models, tmp_path / "t"))
    measured = found.results["quality"]["train"]["loss"]["value"]
    assert measured == pytest.approx(loss_at(models[-1], cross_entropy, *data()), **LOSS)
    described = found.results["slice.trajectory"]
    assert described["path"][-1] == pytest.approx([0, 0], abs=1e-6)
    # Of three offsets two directions hold nearly all but not everything; distances are of the others.
    assert described["distances"][-1] == pytest.approx(0, abs=1e-6)
    # The statistics of batch normalization along the path are those of the point that is surveyed.
    statistics = models[-1].state_dict()
    for model, loss in zip(models, described["path_loss"], strict=True):
        model.load_state_dict(
            {name: statistics[name] for name in statistics if "running" in name}, strict=False
        )
        assert loss == pytest.approx(loss_at(model, cross_entropy, *data()), **LOSS)


def test_trajectory_of_two_spans_no_plane(tmp_path: Path, coarse: Settings) -> None:
    folder = folder_of([net(1), net(2)], tmp_path / "t")
    found = survey(target(), tmp_path / "run", settings=coarse, trajectory=folder)
    assert found.results["slice.trajectory"] is None
    assert "verdict" in found.results


def test_trajectory_of_identical_checkpoints_spans_no_plane(tmp_path: Path, coarse: Settings) -> None:
    folder = folder_of([net(1)] * 4, tmp_path / "t")
    found = survey(target(), tmp_path / "run", settings=coarse, trajectory=folder)
    assert found.results["slice.trajectory"] is None
    with Run.read(found.path) as run:
        assert any("do not span a plane" in note for note in run.notes())


def test_trajectory_of_one_or_none(tmp_path: Path, coarse: Settings) -> None:
    folder = folder_of([net(1)], tmp_path / "t")
    with pytest.raises(MissingData, match="must hold at least 2 checkpoint files"):
        survey(target(), tmp_path / "run", settings=coarse, trajectory=folder)
    assert not (tmp_path / "run").exists()


def fitting() -> dict[str, Tensor]:
    return dict(net(1).state_dict())


MISFITS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "parameter lacking": (
        lambda s: {name: t for name, t in s.items() if name != "3.weight"},
        r"checkpoint .*w.safetensors lacks 1 of 6 parameters \(3.weight\)",
    ),
    "other names": (
        lambda s: {f"encoder.{name}": t for name, t in s.items()},
        r"checkpoint .*w.safetensors lacks 6 of 6 parameters \(0.weight, 0.bias, 1.weight, 1.bias\); it holds encoder",
    ),
    "other shape": (
        lambda s: s | {"3.weight": torch.zeros(7, 5)},
        r"3.weight has shape \(7, 5\), the model's has \(3, 5\)",
    ),
    "other shape of a buffer": (
        lambda s: s | {"1.running_mean": torch.zeros(9)},
        r"1.running_mean has shape \(9,\), the model's has \(5,\)",
    ),
    "more names": (
        lambda s: s | {"4.weight": torch.zeros(2)},
        r"checkpoint .*w.safetensors holds 4.weight, which the model has not",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_weights_that_do_not_fit(tmp_path: Path, coarse: Settings, what: str) -> None:
    change, message = MISFITS[what]
    save_file(change(fitting()), tmp_path / "w.safetensors")
    with pytest.raises(InvalidArgument, match=message) as error:
        survey(target(), tmp_path / "run", settings=coarse, checkpoint=tmp_path / "w.safetensors")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_one_misfit_in_a_trajectory(tmp_path: Path, coarse: Settings) -> None:
    folder = folder_of([net(1), net(2), net(3)], tmp_path / "t")
    save_file(fitting() | {"0.bias": torch.zeros(6)}, folder / "epoch_9.safetensors")
    with pytest.raises(InvalidArgument, match=r"0.bias has shape \(6,\), the model's has \(5,\)"):
        survey(target(), tmp_path / "run", settings=coarse, trajectory=folder)


def test_checkpoint_without_statistics_or_frozen_weights_is_refused(tmp_path: Path, coarse: Settings) -> None:
    whole = fitting()
    for lacking in ("running_mean", "0.weight"):
        bare = {name: tensor for name, tensor in whole.items() if lacking not in name}
        assert len(bare) < len(whole)
        save_file(bare, tmp_path / "w.safetensors")
        with pytest.raises(InvalidArgument, match=rf"checkpoint .*w.safetensors lacks .*{lacking}"):
            survey(target(), tmp_path / "run", settings=coarse, checkpoint=tmp_path / "w.safetensors")
    assert not (tmp_path / "run").exists()


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
@pytest.mark.parametrize("place", ["checkpoint", "trajectory"])
def test_pickle_with_code_is_refused_and_not_executed(
    tmp_path: Path, coarse: Settings, how: str, place: str
) -> None:
    folder = folder_of([net(1), net(2)], tmp_path / "t")
    trace = tmp_path / "executed"
    hostile = {"weight": torch.zeros(2), "payload": Payload(trace)}
    with (folder / "model.pt").open("wb") as file:
        (torch.save if how == "torch" else pickle.dump)(hostile, file)
    given = {"checkpoint": folder / "model.pt"} if place == "checkpoint" else {"trajectory": folder}
    with pytest.raises(UnsafeFile, match="was refused, not executed"):
        survey(target(), tmp_path / "run", settings=coarse, **given)
    assert not trace.exists()
    assert not (tmp_path / "run").exists()
    # The file does execute where it is trusted: the refusal is what prevented it.
    with (folder / "model.pt").open("rb") as file:
        torch.load(file, weights_only=False) if how == "torch" else pickle.load(file)
    assert trace.exists()


def test_absent_checkpoint(tmp_path: Path, coarse: Settings) -> None:
    with pytest.raises(MissingData, match=r"absent\.pt was not found"):
        survey(target(), tmp_path / "run", settings=coarse, checkpoint=tmp_path / "absent.pt")


@pytest.mark.parametrize("argument", ["checkpoint", "trajectory"])
def test_surfaces_have_no_weights(tmp_path: Path, coarse: Settings, argument: str) -> None:
    with pytest.raises(InvalidArgument, match="are for models; booth is a surface"):
        survey("booth", tmp_path / "run", settings=coarse, **{argument: tmp_path})


def test_run_folder_without_weights(tmp_path: Path, coarse: Settings) -> None:
    survey("booth", tmp_path / "booth", settings=coarse)
    with pytest.raises(InvalidArgument, match="holds a run without weights"):
        survey(target(), tmp_path / "run", settings=coarse, checkpoint=tmp_path / "booth")


def test_given_weights_are_not_trained(tmp_path: Path) -> None:
    wine = problems.get("wine", hidden=(3,))
    trained = train_into(wine, tmp_path / "trained", training=replace(wine.training, epochs=2))
    subject = make_subject(resolve(wine), checkpoint=trained.path)
    assert subject.training is None
    assert make_subject(resolve(wine)).training == wine.training
