from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from cli.conftest import Command
from thalweg import problems
from thalweg.store import Run

SMALL = ("wine", "--set", "hidden=(3,)")


def test_train_then_survey_its_run(thalweg: Command, tmp_path: Path) -> None:
    trained = thalweg("train", *SMALL, "--epochs", 4, "--seed", 2, "--out", "a", "--json")
    assert (trained.status, trained.err) == (0, "")
    told = trained.json
    assert told["run"] == "a"
    assert told["training"]["steps"] == 4 * 5

    surveyed = thalweg(
        "survey", *SMALL, "--checkpoint", "a", "--trajectory", "a", "--out", "b", "--resolution", 3, "--json"
    )
    assert (surveyed.status, surveyed.err) == (0, "")
    found = surveyed.json
    assert found["quality"] == told["quality"]
    assert found["slice.trajectory"]["path"][-1] == pytest.approx([0, 0], abs=1e-6)
    assert len(found["slice.trajectory"]["path"]) == 5
    assert (tmp_path / "b" / "report.html").is_file()

    # The weights that it left, in plain torch.
    problem = problems.get("wine", hidden=(3,))
    model = problem.make_model()
    with Run.read("a") as run:
        state = run.tensors("epoch-0004") or {}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    x, y = problem.test
    # Single-precision means of 36 terms.
    loss = cross_entropy(model(x), y).item()
    assert told["quality"]["test"]["loss"]["value"] == pytest.approx(loss, rel=1e-5)


def test_tells_the_outcome(thalweg: Command) -> None:
    found = thalweg("train", *SMALL, "--epochs", 1, "--optimizer", "adam", "--lr", 0.01)
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith("adam at 0.01, 5 steps: done\n")
    for row in ("train loss", "train accuracy", "test loss", "test accuracy"):
        assert row in found.out
    assert found.out.endswith("Run: runs/wine-training-hidden-3-adam-lr0.01-epochs1\n")


def test_divergence_is_told(thalweg: Command) -> None:
    found = thalweg("train", *SMALL, "--epochs", 3, "--optimizer", "sgd", "--lr", 1e30)
    assert (found.status, found.err) == (0, "")
    assert "diverged" in found.out
    assert "nan" not in found.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("booth",), "booth is a surface and has no data to train on: thalweg descend booth descends it"),
        (
            ("booth", "--optimizer", "adam", "--epochs", "3"),
            "thalweg descend booth --optimizers adam descends it",
        ),
        (("wine", "--lr", "0"), "lr must be positive and finite, got 0.0"),
        (("wine", "--epochs", "-1"), "epochs must be at least 0, got -1"),
        (("wine", "--set", "hidden"), "--set takes NAME=VALUE, got 'hidden'"),
        (("absent.py:make",), "there is no file absent.py"),
    ],
)
def test_what_cannot_be_trained(
    thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    assert told in thalweg("train", *arguments).line
    assert list(tmp_path.iterdir()) == []


def test_other_settings_in_the_same_folder(thalweg: Command) -> None:
    assert thalweg("train", *SMALL, "--epochs", 1, "--out", "a").status == 0
    assert thalweg("train", *SMALL, "--epochs", 1, "--out", "a").status == 0
    assert "seed was 0, now 1" in thalweg("train", *SMALL, "--epochs", 1, "--seed", 1, "--out", "a").line


def test_each_training_has_a_folder_of_its_own(thalweg: Command) -> None:
    runs = [
        thalweg("train", "wine", "--epochs", 0, *more, "--json").json["run"]
        for more in ((), ("--optimizer", "adam"), ("--seed", 1), ("--seed", 0), ("--weight-decay", 0.1))
    ]
    assert runs == [
        "runs/wine-training-epochs0",
        "runs/wine-training-adam-epochs0",
        "runs/wine-training-epochs0-seed1",
        "runs/wine-training-epochs0",
        "runs/wine-training-weight_decay0.1-epochs0",
    ]


class TestReportAndExport:
    """Of a run that was trained and of one that was surveyed; of folders that hold none."""

    @pytest.fixture
    def trained(self, thalweg: Command) -> Path:
        assert thalweg("train", *SMALL, "--epochs", 2, "--out", "a").status == 0
        return Path("a")

    def test_report_of_a_training(self, thalweg: Command, trained: Path) -> None:
        found = thalweg("report", trained)
        assert (found.status, found.out, found.err) == (0, "Report: a/report.html\n", "")
        page = (trained / "report.html").read_text()
        assert "wine" in page
        found = thalweg("report", trained, "--out", "elsewhere/page.html")
        assert found.out == "Report: elsewhere/page.html\n"
        assert Path("elsewhere/page.html").read_text() == page

    @pytest.mark.parametrize("command", ["report", "export"])
    def test_no_run(self, thalweg: Command, tmp_path: Path, command: str) -> None:
        (tmp_path / "empty").mkdir()
        assert thalweg(command, "empty").line == "empty holds no run: run.sqlite was not found there"
        assert thalweg(command, "absent").line == "absent holds no run: run.sqlite was not found there"
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]
        assert list((tmp_path / "empty").iterdir()) == []

    def test_export_of_a_training(self, thalweg: Command, trained: Path) -> None:
        found = thalweg("export", trained, "--format", "csv")
        assert (found.status, found.err) == (0, "")
        assert found.out.splitlines() == ["a/export/series.training.csv", "a/export/results.json"]
        table = np.genfromtxt("a/export/series.training.csv", delimiter=",", names=True)
        with Run.read(trained) as run:
            assert table["loss"].tolist() == [row["loss"] for row in run.series("training")]

    @pytest.mark.usefixtures("no_report")
    def test_export_of_a_survey(self, thalweg: Command) -> None:
        import xarray

        assert thalweg("survey", "booth", "--resolution", 5, "--out", "s").status == 0

        def formula(x, y):
            return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2

        found = thalweg("export", "s", "--format", "netcdf", "--out", "n")
        assert set(found.out.splitlines()) >= {"n/line.nc", "n/domain.nc"}
        with xarray.open_dataset("n/domain.nc", engine="h5netcdf") as data:
            assert data["loss"].dims == ("alpha", "beta")
            # The map's coordinates are the surface's own; values of order 10³ in double precision.
            expected = formula(data["alpha"], data["beta"])
            assert np.allclose(data["loss"], expected, rtol=1e-12, atol=1e-9)

        found = thalweg("export", "s", "--format", "csv", "--out", "c")
        assert set(found.out.splitlines()) >= {"c/line.csv", "c/domain.csv", "c/results.json"}
        table = np.genfromtxt("c/domain.csv", delimiter=",", names=True)
        assert len(table) == 25
        assert np.allclose(table["loss"], formula(table["alpha"], table["beta"]), rtol=1e-12, atol=1e-9)
