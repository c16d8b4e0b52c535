from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Command
from thalweg import surfaces, surveys
from thalweg.cli.arguments import training
from thalweg.store import Run
from thalweg.surveys import resolve

UNDEFINED_IN_PARTS = """
import thalweg as tw

def make():
    return tw.surfaces.Surface(
        "logarithm", lambda p: p[0] ** 2 + p[1] - p[1].log(), [1.0, 0.5], domain=[(-1.0, 1.0), (-1.0, 3.0)]
    )
"""

WITHOUT_ERROR = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    x = torch.randn(20, 3)
    loss = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()
    return {"model": nn.Linear(3, 1), "data": (x, x[:, :1]), "batch_loss": loss}
"""


def test_tells_what_it_found_and_where_the_report_is(thalweg: Command, tmp_path: Path) -> None:
    found = thalweg("survey", "booth", "--resolution", 5)
    assert (found.status, found.err) == (0, "")
    with Run.read("runs/booth") as run:
        results: Any = run.results()
    text = " ".join(found.out.split())
    assert " ".join(results["verdict"]["sentence"].split()) in text
    for finding in results["verdict"]["findings"]:
        assert f"• {finding}" in text
    assert found.out.endswith("\nReport: runs/booth/report.html\n")
    page = (tmp_path / "runs" / "booth" / "report.html").read_text()
    assert "booth" in page
    assert results["provenance"]["command"] == "thalweg survey booth --resolution 5"
    # Again: the same, from what is there.
    assert thalweg("survey", "booth", "--resolution", 5).out == found.out


@pytest.mark.usefixtures("no_report")
class TestJson:
    def test_holds_all_results(self, thalweg: Command) -> None:
        found = thalweg("survey", "quadratic", "--set", "dim=3", "--resolution", 3, "--out", "a b", "--json")
        assert (found.status, found.err) == (0, "")
        printed = found.json
        assert printed.pop("run") == "a b"
        assert printed.pop("report") == "a b/report.html"
        with Run.read("a b") as run:
            assert printed == run.results()
        # ½Σλx² with λ = 1, 10, 100.
        assert printed["eigenpairs"]["values"] == pytest.approx([100, 10, 1], rel=1e-12)

    @pytest.mark.parametrize(
        "source", [UNDEFINED_IN_PARTS, WITHOUT_ERROR], ids=["undefined", "without error"]
    )
    def test_has_null_where_there_is_no_number(self, thalweg: Command, tmp_path: Path, source: str) -> None:
        (tmp_path / "mine.py").write_text(source)
        found = thalweg("survey", "mine.py:make", "--resolution", 5, "--json")
        assert (found.status, found.err) == (0, "")
        printed = found.json
        assert printed["run"] == "runs/mine-make"
        if source is WITHOUT_ERROR:
            assert printed["quality"]["train"]["loss"]["stderr"] is None
            assert printed["quality"]["train"]["loss"]["value"] > 0

    def test_failure_prints_none(self, thalweg: Command) -> None:
        assert "digitz" in thalweg("survey", "digitz", "--json").line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("booth", "--resolution", "0"), "resolution must be at least 3, got 0"),
        (("booth", "-k", "-3"), "k must be at least 2, got -3"),
        (("booth", "--span", "nan"), "span must be positive and finite, got nan"),
        (("booth", "--span", "-1"), "span must be positive and finite, got -1.0"),
        (("booth", "--probes", "1"), "probes must be at least 2, got 1"),
        (("wine", "--epochs", "-1"), "epochs must be at least 0, got -1"),
        (("wine", "--lr", "0"), "lr must be positive and finite, got 0.0"),
        (("wine", "--lr", "nan"), "lr must be positive and finite, got nan"),
        (("wine", "--momentum", "1"), "momentum must be in [0, 1), got 1.0"),
        (("wine", "--weight-decay", "-1"), "weight_decay must be at least 0 and finite, got -1.0"),
        (("wine", "--batch-size", "0"), "batch_size must be at least 1, got 0"),
        (("wine", "--optimizer", "lion9"), "unknown optimizer 'lion9': did you mean lion?"),
        (("booth", "--lr", "0.1"), "lr: booth is not trained here, only problems are"),
        (("wine", "--set", "hidden"), "--set takes NAME=VALUE, got 'hidden'"),
        (("wine", "--set", "=3"), "--set takes NAME=VALUE, got '=3'"),
        (("wine", "--set", "a b=3"), "--set takes NAME=VALUE, got 'a b=3'"),
        (
            ("wine", "--set", "depth=3"),
            "problem 'wine': got an unexpected keyword argument 'depth'; it takes hidden",
        ),
        (("quadratic", "--set", "dim=abc"), "dim must be an integer, got 'abc'"),
        (
            ("quadratic", "--set", "condition_number=0.5"),
            "condition_number must be a finite number at least 1",
        ),
        (("mine.py:make", "--set", "a=1"), "parameters a are for named problems and surfaces"),
        (("absent.py:make",), "there is no file absent.py"),
        (("absent.py",), "must name the function that makes it: absent.py:make"),
        (("booth", "--checkpoint", "a.pt"), "are for models; booth is a surface"),
        (("wine", "--checkpoint", "a.pt"), "checkpoint a.pt was not found"),
        (("wine", "--trajectory", "absent"), "absent"),
    ],
)
@pytest.mark.parametrize("plan", [(), ("--plan",)], ids=["survey", "plan"])
def test_what_cannot_be_used_is_named_and_nothing_written(
    thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str, plan: tuple[str, ...]
) -> None:
    assert told in thalweg("survey", *arguments, *plan).line
    assert list(tmp_path.iterdir()) == []


def test_broken_file_of_the_user(thalweg: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    return 1 / 0\n")
    line = thalweg("survey", "mine.py:make").line
    assert line == "mine.py:make() raised ZeroDivisionError: division by zero at line 2"


def test_out_that_is_a_file(thalweg: Command, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "notes is a file: a run needs a folder" in thalweg("survey", "booth", "--out", "notes").line
    assert (tmp_path / "notes").read_text() == "mine"


def test_out_with_other_files(thalweg: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "thesis.tex" in thalweg("survey", "booth", "--out", "out").line


def test_out_in_a_folder_that_cannot_be_written(
    thalweg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        # The superuser may write everywhere: be told what others are told.
        make = os.mkdir

        def refused(path: Any, *arguments: Any, **options: Any) -> None:
            if str(path).startswith("locked"):
                raise PermissionError(13, "Permission denied", str(path))
            make(path, *arguments, **options)

        monkeypatch.setattr(os, "mkdir", refused)
    assert (
        thalweg("survey", "booth", "--out", "locked/run").line
        == "locked/run cannot be used: Permission denied"
    )


@pytest.mark.usefixtures("no_report")
def test_other_settings_in_the_same_folder(thalweg: Command) -> None:
    assert thalweg("survey", "booth", "--resolution", 3).status == 0
    line = thalweg("survey", "booth", "--resolution", 4).line
    assert "resolution was 3, now 4" in line
    assert "--out" in line


@pytest.mark.usefixtures("no_report")
def test_set_reads_python_literals_and_text(thalweg: Command) -> None:
    arguments = ("--set", "hidden=(3,)", "--set", "activation=tanh", "--epochs", 1, "--resolution", 3)
    found = thalweg("survey", "wine", *arguments, "--json").json
    assert found["target"]["parameters"] == 13 * 3 + 3 + 3 * 3 + 3
    assert found["target"]["description"].endswith("tanh")
    assert found["training"]["epochs"] == 1
    assert found["training"]["optimizer"] == "momentum"


@pytest.mark.parametrize(
    ("given", "momentum"),
    [
        ({"optimizer": "nesterov"}, 0.9),
        ({"optimizer": "nesterov", "momentum": 0.5}, 0.5),
        ({"optimizer": "sgd"}, 0.0),
    ],
)
def test_momentum_is_given_to_optimizers_that_need_it(given: dict[str, Any], momentum: float) -> None:
    chosen = training(resolve("recurrent", samples=20, steps=3), **given)
    assert chosen is not None
    assert (chosen.optimizer, chosen.momentum) == (given["optimizer"], momentum)
    own = resolve("recurrent", samples=20, steps=3).problem
    assert own is not None
    assert (chosen.epochs, chosen.batch_size) == (own.training.epochs, own.training.batch_size)
    assert training(resolve("recurrent", samples=20, steps=3), lr=None) is None


def test_threads(thalweg: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(surveys, "survey", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    thalweg("survey", "booth", "--threads", 3)
    assert asked == [3]


class TestPlan:
    @pytest.mark.parametrize("target", ["booth", "wine"])
    def test_json(self, thalweg: Command, tmp_path: Path, target: str) -> None:
        found = thalweg("survey", target, "--plan", "--json")
        assert (found.status, found.err) == (0, "")
        planned = found.json
        assert set(planned) == {"stages", "seconds", "memory"}
        stages = {stage["name"]: stage for stage in planned["stages"]}
        # A line, and one map of the whole surface or about a fifth of three planes through the weights.
        points = {"booth": 101 + 101**2, "wine": 101 + 3 * 336}[target]
        assert stages["slices"]["count"] == points
        assert planned["seconds"] == pytest.approx(sum(stage["seconds"] for stage in planned["stages"]))
        assert list(tmp_path.iterdir()) == []

    def test_table(self, thalweg: Command, tmp_path: Path) -> None:
        found = thalweg("survey", "booth", "--plan", "--resolution", 7)
        assert (found.status, found.err) == (0, "")
        slices = next(line for line in found.out.splitlines() if line.startswith("slices"))
        assert slices.split()[1:3] == ["150", "loss"]
        assert "Nothing was written." in found.out
        assert list(tmp_path.iterdir()) == []


class Terminal:
    """Standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("quiet", [(), ("--quiet",), ("-q",)])
def test_progress_on_a_terminal(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch, quiet: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert thalweg("survey", "booth", "--resolution", 3, *quiet).status == 0
    for label in ("going to the point", "extreme eigenpairs", "slice along a line", "report"):
        assert (label in terminal.text) is not bool(quiet)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("name", ["monkey_saddle", "cliff"])
def test_awkward_surfaces_end_well(thalweg: Command, name: str) -> None:
    assert name in surfaces.names()
    found = thalweg("survey", name, "--resolution", 3, "--json")
    assert (found.status, found.err) == (0, "")
    assert found.json["verdict"]["sentence"].startswith(name)
