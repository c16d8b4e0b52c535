"""`thalweg curvature` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import thalweg as tw
from cli.conftest import Command


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
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[str, ...], told: str) -> None:
    ended = thalweg("curvature", *arguments)
    assert ended.status == 1
    assert told in ended.line


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
    assert Path("runs/wine-curvature/along-the-run.png").is_file()
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
