"""`thalweg curvature` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import torch

import thalweg as tw
from cli.conftest import Command
from thalweg.errors import InvalidArgument
from thalweg.surveys import curvature as measuring


def test_a_surface(thalweg: Command) -> None:
    found = thalweg("curvature", "rosenbrock", "--measure", "eigenpairs,kind,trace", "--json").json
    x, y = tw.surfaces.rosenbrock().point.tolist()
    # (1 − x)² + 100 (y − x²)²
    matrix = torch.tensor([[2 + 1200 * x**2 - 400 * y, -400 * x], [-400 * x, 200.0]], dtype=torch.float64)
    exact = torch.linalg.eigvalsh(matrix)
    assert found["eigenpairs"]["values"] == pytest.approx(exact.flip(0).tolist())
    assert found["trace"]["value"] == pytest.approx(float(exact.sum()))
    assert found["kind"]["kind"] == "not critical"


def test_every_measure_of_a_model_is_told(thalweg: Command) -> None:
    ended = thalweg("curvature", "wine", "-k", "4", "--probes", "2")
    assert ended.status == 0
    assert "initialization from seed 0" in ended.out
    for name in ("eigenpairs", "kind", "trace", "density", "sharpness", "noise", "blocks"):
        assert f"\n{name}\n" in ended.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rosenbrock", "--measure", "noise"), "has none"),
        (("rosenbrock", "--measure", "eigenpair"), "did you mean 'eigenpairs'"),
        (("rosenbrok",), "rosenbrock"),
        (("rosenbrock", "--measure", " , "), "measure must name one or more of eigenpairs, kind"),
        (("wine", "--measure", "stability"), "measure 'stability' is of an optimizer: give a folder"),
        (("rosenbrock", "-k", "0"), "k must be an integer of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[str, ...], told: str) -> None:
    ended = thalweg("curvature", *arguments)
    assert ended.status == 1
    assert told in ended.line


def test_one_eigenvalue_of_a_model_with_many(thalweg: Command) -> None:
    """It is from one end of the spectrum, and the kind of the point looks at both by itself."""
    found = thalweg("curvature", "wine", "-k", 1, "--measure", "eigenpairs,kind", "--json").json
    assert found["eigenpairs"]["values"] == pytest.approx([found["kind"]["largest"]], rel=1e-3)
    assert found["kind"]["smallest"] < 0
    assert found["kind"]["products"] > 0
    stages = thalweg("curvature", "wine", "-k", 1, "--measure", "eigenpairs,kind", "--plan", "--json").json[
        "stages"
    ]
    assert all(stage["count"] > 0 for stage in stages)


def test_what_cannot_be_measured_does_not_take_the_rest_along(thalweg: Command) -> None:
    """After a step at a rate of 1000 the loss is 1e28: its square is no number in single precision."""
    assert (
        thalweg("train", "wine", "--optimizer", "sgd", "--lr", 1000, "--epochs", 3, "--out", "a").status == 0
    )
    found = thalweg(
        "curvature", "wine", "--checkpoint", "a", "--measure", "eigenpairs,sharpness", "--json"
    ).json
    assert len(found["eigenpairs"]["values"]) == 10
    assert "is not finite" in found["sharpness"]["fisher_rao"]["failure"]
    assert found["sharpness"]["sam"]["error"] > 0
    told = thalweg("curvature", "wine", "--checkpoint", "a", "--measure", "eigenpairs,sharpness")
    assert "\n  fisher_rao cannot be measured: a product" in told.out


OWN_LOSS = """
import torch
import thalweg as tw

def make():
    x = torch.arange(12.0).reshape(4, 3)
    model = torch.nn.Linear(3, 1)
    return tw.Objective(model, batch_loss=lambda m, batch: m(batch[0]).square().mean(), data=(x, x[:, :1]))
"""


def test_a_sharpness_that_needs_outputs_is_told_by_its_name(thalweg: Command) -> None:
    Path("own.py").write_text(OWN_LOSS)
    told = thalweg("curvature", "own.py:make", "--probes", 2)
    assert (told.status, told.err) == (0, "")
    assert "\n  fisher_rao cannot be measured: this needs the model's output: with batch_loss" in told.out
    found = thalweg("curvature", "own.py:make", "--measure", "eigenpairs,sharpness", "--json").json
    # The loss is (wᵀx + b)²: its Hessian is twice the mean of zzᵀ with z = (x, 1).
    z = torch.cat([torch.arange(12.0).reshape(4, 3), torch.ones(4, 1)], dim=1).double()
    assert found["eigenpairs"]["values"][0] == pytest.approx(
        float(torch.linalg.eigvalsh(z.T @ z / 2)[-1]), rel=1e-4
    )
    assert "failure" not in found["sharpness"]["adaptive"]


def test_a_measure_that_cannot_be_made_is_told_by_its_name(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> NoReturn:
        raise InvalidArgument("it has none")

    monkeypatch.setitem(measuring.MEASURES, "trace", fail)
    told = thalweg("curvature", "rosenbrock", "--measure", "trace,eigenpairs")
    assert told.status == 0
    assert "\ntrace cannot be measured: it has none\n" in told.out
    assert "λ = " in told.out
    assert thalweg("curvature", "rosenbrock", "--measure", "trace").line == "it has none"


def test_along_a_run(thalweg: Command) -> None:
    small = ("wine", "--set", "hidden=(3,)")
    assert thalweg("train", *small, "--epochs", 2, "--out", "a").status == 0
    told = thalweg("curvature", *small, "--trajectory", "a", "-k", 2)
    assert (told.status, told.err) == (0, "")
    assert [line.split()[0] for line in told.out.splitlines()[1:4]] == [
        "epoch-0000",
        "epoch-0001",
        "epoch-0002",
    ]
    assert Path("runs/a-curvature/along-the-run.png").is_file()
    # At its last checkpoint it says what that checkpoint alone does.
    along = thalweg("curvature", *small, "--trajectory", "a", "-k", 2, "--json").json
    alone = thalweg(
        "curvature", *small, "--checkpoint", "a", "-k", 2, "--measure", "eigenpairs", "--json"
    ).json
    last = along["measured"][-1]["eigenpairs"]["numbers"]
    assert last["values"] == pytest.approx(alone["eigenpairs"]["values"], rel=1e-3)


def test_a_plan_measures_nothing(thalweg: Command) -> None:
    plan = thalweg("curvature", "wine", "--plan", "--measure", "trace,noise", "--json").json
    assert [stage["name"] for stage in plan["stages"]] == ["trace", "noise"]
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in plan["stages"]))
    assert not list(Path().iterdir())


def test_a_picture(thalweg: Command) -> None:
    found = thalweg("curvature", "wine", "--measure", "eigenpairs,density", "--out", "c.png", "--json").json
    assert Path(found["picture"]).is_file()
    names = [one["law"] for one in found["density"]["references"]]
    assert names[0] == "semicircle"
    assert "--measure" in thalweg("curvature", "wine", "--measure", "trace", "--out", "c.png").line
