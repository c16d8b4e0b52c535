"""`thalweg stability` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cli.conftest import Command
from thalweg import surfaces

SMALL = ("wine", "--set", "hidden=(3,)")


def test_a_surface(thalweg: Command) -> None:
    top = float(torch.linalg.eigvalsh(surfaces.rosenbrock().hessian()).max())
    found = thalweg("stability", "rosenbrock", "--lr", 0.01, "--json").json
    assert found["used"]["ratio"] == pytest.approx(0.01 * top / 2, rel=1e-6)
    told = thalweg("stability", "rosenbrock")
    assert told.status == 0
    assert "2/λmax" in told.out
    assert "in use" not in told.out


def test_at_a_maximum_descent_leaves_at_any_rate(thalweg: Command) -> None:
    assert float(torch.linalg.eigvalsh(surfaces.himmelblau().hessian()).max()) < 0
    sentence = "Descent leaves this point at any rate, for its Hessian has no positive eigenvalue."
    assert sentence in thalweg("stability", "himmelblau").out
    assert sentence not in thalweg("stability", "rosenbrock").out


def test_along_a_run_and_at_its_end(thalweg: Command, tmp_path: Path) -> None:
    assert thalweg("train", *SMALL, "--optimizer", "momentum", "--epochs", 3, "--out", "a").status == 0
    along = thalweg("stability", *SMALL, "--trajectory", "a", "--json").json
    assert along["steps"] == [0, 1, 2, 3]
    assert Path(along["picture"]).is_file()
    at_end = thalweg("stability", *SMALL, "--checkpoint", "a", "--json").json
    last = along["measured"][-1]["stability"]["numbers"]
    assert at_end["used"]["rate"] == pytest.approx(last["rate"], rel=1e-3)
    assert at_end["used"]["optimizer"] == last["optimizer"] == "momentum"
    # Another optimizer on the same checkpoints goes elsewhere.
    refused = thalweg("stability", *SMALL, "--trajectory", "a", "--optimizer", "adam")
    assert "runs/a-stability" in refused.line
    adam = thalweg("stability", *SMALL, "--trajectory", "a", "--optimizer", "adam", "--out", "b", "-q")
    assert adam.status == 0
    assert "largest stable rate" in adam.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*SMALL, "--optimizer", "lion"), "lion"),
        (("himmelblau", "--optimizer", "adam"), "--lr"),
        (("himmelblau", "--trajectory", "a"), "surface"),
        (("wine", "--checkpoint", "absent.pt"), "not found"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[object, ...], told: str) -> None:
    assert told in thalweg("stability", *arguments).line
