"""Curvature along checkpoints: the numbers of each one alone, whatever was interrupted, added or changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from thalweg import surfaces
from thalweg.curvature import SymmetricOperator, eigenpairs, hessian
from thalweg.errors import InvalidArgument, MissingData, RunConflict
from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys import Checkpoints, curvature, track, training_in
from thalweg.surveys.curvature import Looking

K = 4


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()


def objective(model: nn.Module | None = None) -> Objective:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(20, 5, generator=draw, dtype=torch.float64)
    return Objective(model or network(), cross_entropy, (x, x[:, :3].argmax(1)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of a model whose weights and batch-norm statistics both move."""
    place = tmp_path / "checkpoints"
    place.mkdir()
    model = network()
    for step in (10, 200, 1000):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.mul_(1.05).add_(0.02)
        torch.save(model.state_dict(), place / f"step_{step}.pt")
    return place


def exact(state: dict[str, Tensor]) -> Tensor:
    """Eigenvalues, descending, of the Hessian in the parameters, by torch.func with these buffers."""
    found = objective()
    model = found.model.eval()
    names = [name for name, _ in model.named_parameters()]
    x, y = next(iter(found.batches.source()))

    def loss(flat: Tensor) -> Tensor:
        parts, held = dict(state), 0
        for name in names:
            size = state[name].numel()
            parts[name] = flat[held : held + size].view_as(state[name])
            held += size
        return cross_entropy(functional_call(model, parts, (x,)), y)

    flat = torch.cat([state[name].flatten() for name in names])
    return torch.linalg.eigvalsh(torch.func.hessian(loss)(flat)).flip(0)


def read(folder: Path) -> Checkpoints:
    return Checkpoints.of(folder, network().state_dict())


def values(found: Any) -> list[list[float]]:
    return [measures["eigenpairs"]["numbers"]["values"] for measures in found.measured]


def test_every_checkpoint_with_its_own_buffers(folder: Path, tmp_path: Path) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoints = read(folder)
    found = track(objective(model), checkpoints, tmp_path / "run", ("trace", "eigenpairs"), k=K)
    assert found.steps == (10, 200, 1000)
    assert found.names == ("step_10", "step_200", "step_1000")
    for state, got, measures in zip(checkpoints, values(found), found.measured, strict=True):
        due = exact(state)
        ends = torch.cat([due[: K // 2], due[-K // 2 :]])
        residuals = torch.tensor(measures["eigenpairs"]["numbers"]["residuals"], dtype=torch.float64)
        assert bool(((torch.tensor(got, dtype=torch.float64) - ends).abs() <= residuals + 1e-12).all())
        assert float(residuals.max()) <= 1e-3 * float(due.abs().max())
        trace = measures["trace"]["numbers"]
        assert trace["value"] == pytest.approx(float(due.sum()), abs=4 * trace["stderr"] + 1e-9)
    largest, errors = found.followed["largest eigenvalue"]
    assert largest == [row[0] for row in values(found)]
    assert max(errors) <= 1e-3 * max(largest)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_goes_on_where_it_was_interrupted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = track(objective(), read(folder), tmp_path / "whole", ("eigenpairs", "trace"), k=K)
    measured: list[str] = []
    original = curvature.Looking.measure

    def measure(look: curvature.Looking, name: str) -> curvature.Measured:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(name)
        return original(look, name)

    monkeypatch.setattr(curvature.Looking, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        track(objective(), read(folder), tmp_path / "broken", ("eigenpairs", "trace"), k=K)
    measured.clear()
    measured.append("room for two more")
    with pytest.raises(KeyboardInterrupt):
        track(objective(), read(folder), tmp_path / "broken", ("eigenpairs", "trace"), k=K)
    monkeypatch.setattr(curvature.Looking, "measure", original)
    again = track(objective(), read(folder), tmp_path / "broken", ("eigenpairs", "trace"), k=K)
    assert again.measured == whole.measured
    with Run.read(tmp_path / "broken") as run:
        assert [row["step"] for row in run.series("curvature")] == [10, 200, 1000]


def test_only_what_is_new_is_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track(objective(), read(folder), tmp_path / "run", ("eigenpairs",), k=K)
    made: list[tuple[str, Tensor]] = []
    original = curvature.Looking.measure

    def measure(look: curvature.Looking, name: str) -> curvature.Measured:
        made.append((name, look.theta))
        return original(look, name)

    monkeypatch.setattr(curvature.Looking, "measure", measure)
    track(objective(), read(folder), tmp_path / "run", ("eigenpairs",), k=K)
    assert not made
    # A further measure, a further checkpoint, and one that was written again.
    state = torch.load(folder / "step_1000.pt")
    state["3.bias"] += 1
    torch.save(state, folder / "step_2000.pt")
    track(objective(), read(folder), tmp_path / "run", ("eigenpairs", "kind"), k=K)
    assert [name for name, _ in made] == ["kind"] * 3 + ["eigenpairs", "kind"]
    made.clear()
    state["3.bias"] += 1
    torch.save(state, folder / "step_200.pt")
    found = track(objective(), read(folder), tmp_path / "run", ("eigenpairs",), k=K)
    assert [name for name, _ in made] == ["eigenpairs"]
    # To the tolerance of a search for eigenpairs.
    due = exact(state)
    assert values(found)[1] == pytest.approx(due[[0, 1, -2, -1]].tolist(), abs=1e-3 * float(due.abs().max()))


def test_a_diverged_checkpoint_is_a_gap(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "step_200.pt")
    state["0.weight"][0, 0] = math.nan
    torch.save(state, folder / "step_200.pt")
    found = track(objective(), read(folder), tmp_path / "run", ("eigenpairs", "trace"), k=K)
    assert "not finite" in found.measured[1]["eigenpairs"]["error"]
    trace, _ = found.followed["trace"]
    assert [math.isnan(value) for value in trace] == [False, True, False]


def test_eigenpairs_start_from_those_before(tmp_path: Path) -> None:
    """On the same weights again, a search costs their check and a look at both ends without them."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 4))
    x = torch.randn(50, 20)
    place = tmp_path / "checkpoints"
    place.mkdir()
    for step in range(2):
        torch.save(model.state_dict(), place / f"{step}.pt")
    checkpoints = Checkpoints.of(place, model.state_dict())
    data = Objective(model, cross_entropy, (x, torch.arange(50) % 4))
    found = track(data, checkpoints, tmp_path / "run", ("eigenpairs",), k=10)
    cold, warm = (measures["eigenpairs"]["numbers"]["products"] for measures in found.measured)
    with hessian(data) as operator:
        ends = eigenpairs(operator, 2, "both").products
    assert warm <= 11 + ends < cold


def test_steps_are_numbers_in_names_that_increase(tmp_path: Path) -> None:
    def steps(*names: str) -> tuple[int, ...]:
        return Checkpoints(names, lambda _: {}).steps

    assert steps("epoch-0000", "epoch-0005") == (0, 5)
    assert steps("model_v2_100", "model_v2_300") == (100, 300)
    assert steps("first", "then", "last") == (0, 1, 2)
    assert steps("run1_a", "run1_b") == (0, 1)


def test_files_that_differ_in_their_suffix_alone_are_told_apart(folder: Path) -> None:
    (folder / "step_10.pth").write_bytes((folder / "step_10.pt").read_bytes())
    found = Checkpoints.of(folder, list(network().state_dict()))
    assert found.names == ("step_10.pt", "step_10.pth", "step_200.pt", "step_1000.pt")
    assert found.steps == (0, 1, 2, 3)
    assert all(map(torch.equal, found[0].values(), found[1].values()))


def test_how_a_run_was_trained(tmp_path: Path) -> None:
    training = {
        "optimizer": "adam",
        "lr": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_size": 8,
        "epochs": 2,
    }
    with Run.open(tmp_path / "run", kind="train", settings={"training": training}):
        pass
    assert training_in(tmp_path / "run") == Training("adam", lr=0.01, batch_size=8, epochs=2)
    assert training_in(tmp_path) is None
    assert training_in(None) is None


def test_bad_input(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'trace'"):
        track(objective(), read(folder), tmp_path / "run", ("traces",))
    with pytest.raises(InvalidArgument, match="checkpoints are of models"):
        track(surfaces.rosenbrock(), read(folder), tmp_path / "run", ("trace",))
    with pytest.raises(MissingData, match="at least 2"):
        Checkpoints.of(tmp_path, ())
    track(objective(), read(folder), tmp_path / "run", ("trace",), k=K)
    with pytest.raises(RunConflict):
        track(objective(), read(folder), tmp_path / "run", ("trace",), k=K + 1)
    with pytest.raises(InvalidArgument, match="of an optimizer"):
        track(objective(), read(folder), tmp_path / "run", ("stability",), k=K)


def test_an_eigenvalue_that_comes_elsewhere_is_not_hidden_by_directions_that_have_become_flat() -> None:
    """Along the lower vectors of the point before this Hessian is nearly zero, and residuals are content with that."""
    values = torch.linspace(0, 0.05, 600, dtype=torch.float64)
    values[:2], values[-2:] = torch.tensor([-3.0, -2.0]), torch.tensor([20.0, 30.0])
    operator = SymmetricOperator.of(torch.diag(values))
    start = torch.eye(600, dtype=torch.float64)[:, [-1, -2, 100, 101]]
    blind = eigenpairs(operator, 4, "both", start=start)
    assert float(blind.values[-1]) > -1, "the search that is guarded against finds them by itself"
    look = Looking(objective(), start[:, 0], operator, 4, 8, 0, start=start)
    found = look.measure("eigenpairs").numbers["values"]
    assert found == pytest.approx([30.0, 20.0, -2.0, -3.0], abs=0.05)
