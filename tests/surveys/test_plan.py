from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from thalweg import problems
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys import Plan, Settings, make_subject, plan, resolve, survey


def counts(planned: Plan) -> dict[str, int]:
    return {stage.name: stage.count for stage in planned.stages}


def own() -> tuple[Any, ...]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 6, generator=draw)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)), mse_loss, (x, x[:, :1])


CASES: dict[str, tuple[Any, dict[str, Any], Training | None]] = {
    "problem": ("wine", {"hidden": (6,)}, Training("momentum", lr=0.05, momentum=0.9, epochs=4)),
    "objective": (own(), {}, None),
    "line": ("quadratic", {"dim": 1}, None),
    "plane": ("booth", {}, None),
    "surface": ("quadratic", {"dim": 40, "seed": 1}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_counts_are_those_of_the_survey(tmp_path: Path, coarse: Settings, case: str) -> None:
    target, parameters, training = CASES[case]
    settings = replace(coarse, resolution=5, steps=16)
    planned = plan(make_subject(resolve(target, **parameters), training=training), settings)
    found = survey(target, tmp_path / "run", settings=settings, training=training, parameters=parameters)
    expected = counts(planned)
    with Run.read(found.path) as run:
        # Of the two grids of a slice that is no surface's one has its evaluated points, the other its map.
        slices = {
            grid: run.evaluations(grid)
            for grid in run.grids()
            if grid != "path" and f"{grid}.evaluated" not in run.grids()
        }
    size = found.results["target"]["parameters"]
    assert expected["slices"] == sum(slices.values())
    # Fewer where a probe meets an invariant space, as in two dimensions.
    assert (
        expected["spectral density"] / 2
        <= found.results["density"]["products"]
        <= expected["spectral density"]
    )
    # "typical": within a factor of three of what convergence took.
    for name, spent in (("eigenpairs", "eigenpairs"), ("trace", "trace")):
        assert expected[name] / 3 <= found.results[spent]["products"] <= 3 * expected[name]
    assert expected["kind of critical point"] == size
    if training is not None:
        assert expected["training"] == found.results["training"]["steps"]


def test_steps_of_batches_that_are_there() -> None:
    task = problems.get("wine", hidden=(3,))
    x, y = task.train
    task = replace(task, train=[(x[i : i + 50], y[i : i + 50]) for i in range(0, len(y), 50)])
    subject = make_subject(resolve(task), training=replace(task.training, batch_size=1, epochs=7))
    assert counts(plan(subject, Settings()))["training"] == 3 * 7


def test_time_and_memory_are_positive_and_add_up() -> None:
    planned = plan(make_subject(resolve("wine", hidden=(3,))), Settings())
    assert planned.seconds == pytest.approx(sum(stage.seconds for stage in planned.stages))
    assert all(stage.seconds >= 0 for stage in planned.stages)
    # 54 parameters of 4 bytes in 2k + 20 vectors at the least.
    assert planned.memory >= 40 * 54 * 4


def test_nothing_is_written_and_nothing_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, loss_fn, samples = own()
    before = [parameter.clone() for parameter in model.parameters()]
    random = torch.get_rng_state()
    plan(make_subject(resolve((model, loss_fn, samples))), Settings())
    assert list(tmp_path.iterdir()) == []
    assert all(map(torch.equal, before, model.parameters()))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
