"""`thalweg survey`, killed again and again, ends with the numbers of an unbroken run."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from thalweg.store import Run

KILLS = 20
# Processes are forked from a server that has the imports done: the kills then fall into the survey, not into them.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["thalweg.surveys", "thalweg.report", "sklearn.datasets", "scipy.optimize"])


# What the console script does. As text, for a forked process cannot import this file.
COMMAND = """
import sys, torch
from thalweg.cli import main
torch.set_num_threads(1)
sys.argv = {arguments}
main()
"""


def start(out: Path, target: list[str]) -> multiprocessing.process.BaseProcess:
    arguments = ["thalweg", "survey", *target, "--quiet", "--out", str(out)]
    process = SERVER.Process(target=exec, args=(COMMAND.format(arguments=arguments),))
    process.start()
    return process


def numbers(out: Path) -> dict[str, object]:
    with Run.read(out) as run:
        results = run.results()
        provenance = results.pop("provenance")
        points = {grid: run.points(grid) for grid in run.grids()}
        tensors = {name: run.tensors(name) for name in run.tensor_names()}
        bits = {name: {key: array.tobytes() for key, array in held.items()} for name, held in tensors.items()}
        return {
            "results": repr(results),
            "seed": provenance["seed"],
            "points": repr(points),
            "series": repr(run.series("training")),
            "tensors": bits,
        }


@pytest.mark.parametrize(
    "target",
    [["wine", "--resolution", "15", "--epochs", "8"], ["himmelblau", "--resolution", "15"]],
    ids=["model", "surface"],
)
def test_killed_survey_continues_to_the_same_numbers(tmp_path: Path, target: list[str]) -> None:
    # The server imports at its first process.
    server = SERVER.Process(target=print)
    server.start()
    server.join()
    begun = time.monotonic()
    whole = start(tmp_path / "whole", target)
    whole.join()
    duration = time.monotonic() - begun
    assert whole.exitcode == 0

    draw = random.Random(0)
    out = tmp_path / "broken"
    killed = 0
    for _ in range(KILLS):
        process = start(out, target)
        process.join(timeout=draw.uniform(0, duration / 3))
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0
            if killed < KILLS // 2:
                # Finished early: begin another run to be killed in, its predecessor having to agree too.
                assert numbers(out) == numbers(tmp_path / "whole")
                out = tmp_path / f"broken-{killed}"
    last = start(out, target)
    last.join()
    assert last.exitcode == 0
    assert killed >= 5

    assert numbers(out) == numbers(tmp_path / "whole")
    with Run.read(out) as run:
        for grid in run.grids():
            # A committed point is never evaluated again: as many evaluations were written as there are points.
            assert run.evaluations(grid) == len(run.points(grid)), grid
