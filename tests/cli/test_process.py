"""What only a process of its own can show: exit statuses, Ctrl-C, silence in a pipe, the time to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import Command
from thalweg.errors import ThalwegError
from thalweg.store import Run

COMMAND = [sys.executable, "-m", "thalweg"]

SLOW_MODEL = """
import time
import torch
from torch import nn

class Slow(nn.Linear):
    def forward(self, x):
        time.sleep(0.002)
        return super().forward(x)

def make():
    torch.manual_seed(0)
    x = torch.randn(20, 3)
    return Slow(3, 1), nn.functional.mse_loss, (x, x[:, :1])
"""


def points() -> dict[str, int]:
    """How many points of each slice are in the run folder."""
    try:
        with Run.read("run") as run:
            return {grid: len(run.points(grid)) for grid in run.grids()}
    except ThalwegError:
        return {}


@pytest.mark.usefixtures("no_report")
def test_interrupted_survey_continues(thalweg: Command) -> None:
    Path("slow.py").write_text(SLOW_MODEL)
    arguments = ["survey", "slow.py:make", "--out", "run", "--resolution", "9"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not points() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    # Nothing but this one line: no progress in a pipe, no traceback.
    assert out == ""
    assert err == "thalweg: interrupted: what was measured is kept, and the same command continues\n"
    kept = points()
    assert kept
    with Run.read("run") as run:
        assert run.result("verdict") is None

    # The same command, in this process and without drawing: that saves the time of imports.
    again = thalweg(*arguments)
    assert (again.status, again.err) == (0, "")
    assert again.out.endswith("Report: run/report.html\n")
    with Run.read("run") as run:
        assert run.result("verdict") is not None
        # What was kept was not evaluated again.
        for grid in run.grids():
            assert len(run.points(grid)) == run.evaluations(grid) >= kept.get(grid, 0)
        assert {"line", "random", "eigen"} <= set(run.grids())


def test_failure(tmp_path: Path) -> None:
    found = subprocess.run(
        [*COMMAND, "survey", "digitz"], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert found.returncode == 1
    assert found.stdout == ""
    assert "digitz" in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from thalweg.cli import main; sys.argv = ['thalweg', 'survey', '--help']\n"
        "try: main()\nfinally: sys.exit(3 if {'torch', 'numpy', 'sklearn'} & set(sys.modules) else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=60, check=False)
    assert found.returncode == 0


SLOW_TO_IMPORT = ("scipy", "sklearn", "pandas", "xarray", "torch._dynamo")


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (("descend", "booth", "--lr", "0.1", "--steps", "2"), SLOW_TO_IMPORT),
        (("basins", "booth", "--lr", "0.1", "--steps", "2", "--resolution", "8"), SLOW_TO_IMPORT),
        (("optimizers", "adamw"), (*SLOW_TO_IMPORT, "matplotlib")),
        (("train", "mine.py:make", "--epochs", "1"), (*SLOW_TO_IMPORT[1:], "matplotlib", "scipy.optimize")),
    ],
    ids=lambda value: value[0],
)
def test_what_takes_long_is_imported_where_it_is_needed(
    tmp_path: Path, arguments: tuple[str, ...], needless: tuple[str, ...]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom thalweg import Problem\n"
        "def make():\n    x = torch.ones(3, 1)\n"
        "    return Problem('mine', lambda: torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, (x, x),"
        " metrics=('loss',))\n"
    )
    code = (
        f"import sys; from thalweg.cli import main; sys.argv = ['thalweg', *{arguments!r}]\n"
        f"try: main()\nexcept SystemExit as stop: print(stop.code, sorted({set(needless)!r} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert (found.stdout.splitlines()[-1], found.stderr) == ("0 []", "")


@pytest.mark.skipif(os.name != "posix", reason="pipes of this kind are POSIX's")
def test_reader_that_goes_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run(
        [*COMMAND, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writing)
    assert "Traceback" not in found.stderr
    assert found.returncode in (0, 1)
