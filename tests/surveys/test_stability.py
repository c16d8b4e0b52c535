"""Edges of the optimizer in use: on a quadratic they follow from its eigenvalues alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from thalweg import problems, surfaces
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.surveys import kin, limits_of, stability_in_run, stability_of, train_into
from thalweg.surveys.stability import edge_curvature

BOWL = surfaces.quadratic(condition_number=10, dim=3)
TOP = float(torch.linalg.eigvalsh(BOWL.hessian()).max())


@pytest.mark.parametrize(
    ("training", "edge"),
    [
        (Training("sgd", lr=0.1, momentum=0.9), 2 / TOP),
        (Training("momentum", lr=0.1, momentum=0.8), 2 * 1.8 / TOP),
        (Training("nesterov", lr=0.1, momentum=0.5), 3 / (2 * TOP)),
        (Training("sgd", lr=0.1, weight_decay=0.5), 2 / (TOP + 0.5)),
    ],
)
def test_edges_of_a_quadratic(training: Training, edge: float) -> None:
    found = stability_of(BOWL, training)
    assert found.rate == pytest.approx(edge, rel=1e-6)
    assert found.used == 0.1
    assert found.ratio == pytest.approx(0.1 / edge, rel=1e-6)
    # The λmax at which the rate in use is the edge: scaled so, the bowl is at its edge.
    curvature = edge_curvature(training)
    assert curvature is not None
    stiffer = surfaces.Surface("stiffer", lambda x: BOWL.formula(x) * (curvature / TOP), [1.0, 1.0, 1.0])
    assert stability_of(stiffer, training).rate == pytest.approx(0.1, rel=1e-6)


def test_kin_of_a_quadratic() -> None:
    found = {one.optimizer: one for one in kin(BOWL)}
    gradient = BOWL.gradient()
    scale = (gradient.abs() + 1e-8).rsqrt()
    scaled = float(torch.linalg.eigvalsh(scale[:, None] * BOWL.hessian() * scale).max())
    due = {
        "sgd": 2 / TOP,
        "momentum": 3.8 / TOP,
        "nesterov": 3.8 / (2.8 * TOP),
        "adam": 38 / scaled,
        "rmsprop": 2 / scaled,
    }
    assert {name: one.rate for name, one in found.items()} == pytest.approx(due, rel=1e-5)


def test_an_adaptive_optimizer_has_the_state_of_its_run(tmp_path: Path) -> None:
    training = Training("adam", lr=0.01, batch_size=32, epochs=2)
    problem = problems.get("wine", hidden=(3,))
    train_into(problem, tmp_path / "run", training=training, seed=3)
    objective = problem.train_objective(problem.make_model(3))
    found = stability_in_run(objective, training, tmp_path / "run")
    assert "state" in found.preconditioner
    assert found.used == 0.01
    # Its model is where the last epoch left it, and there the edge differs from an estimated one.
    guessed = stability_of(objective, training)
    assert "estimated" in guessed.preconditioner
    assert not math.isclose(found.rate, guessed.rate, rel_tol=0.01)


def test_limits_are_named() -> None:
    limits = limits_of(Training("sgd", lr=0.1))
    assert limits == {
        "largest stable rate": {"rate in use, sgd at 0.1": 0.1},
        "largest eigenvalue": {"edge of stability, sgd at 0.1": pytest.approx(20)},
    }
    assert list(limits_of(Training("adam", lr=0.1))) == ["largest stable rate"]
    assert limits_of(None) == {}


def test_an_optimizer_without_a_known_edge() -> None:
    model = problems.get("wine", hidden=(3,))
    objective = model.train_objective()
    assert isinstance(objective, Objective)
    with pytest.raises(InvalidArgument, match="optimizer"):
        stability_of(objective, Training("lion", lr=0.1))
