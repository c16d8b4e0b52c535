"""Several processes on one slice: the same map, killed or not, and no point twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape.models import cancer, relu_network
from thalweg.errors import InvalidArgument, OutOfMemory, ThalwegError
from thalweg.landscape import evaluate, random_plane
from thalweg.landscape.pointwise import pointwise
from thalweg.landscape.workers import Workers
from thalweg.objective import Objective
from thalweg.store import Run

SCRIPT = """
import sys
sys.path[:0] = {path!r}
import torch
from landscape.test_workers import slice_of
torch.set_num_threads(1)
slice_of({folder!r})
"""
RESOLUTION = 25


def objective() -> Objective:
    return Objective(relu_network(torch.nn.Tanh), F.cross_entropy, cancer(60))


def slice_of(folder: str | Path, workers: int = 2):
    found = objective()
    with Run.open(folder, kind="landscape", settings={}, timeout=60) as run:
        return evaluate(found, random_plane(found), RESOLUTION, rtol=0.02, run=run, workers=workers)


def test_two_give_the_map_of_one() -> None:
    found = objective()
    plane = random_plane(found)
    metrics = ["loss", "gradient_norm"]
    alone = evaluate(found, plane, 15, rtol=0.02, metrics=metrics)
    both = evaluate(found, plane, 15, rtol=0.02, metrics=metrics, workers=2)
    for name in metrics:
        np.testing.assert_allclose(both.values[name], alone.values[name], rtol=1e-9)
    assert both.evaluations == alone.evaluations
    assert np.array_equal(both.evaluated, alone.evaluated)


def test_a_worker_that_dies_is_done_without() -> None:
    found = objective()
    plane = random_plane(found)
    places = [[0.1 * i, -0.2] for i in range(12)]
    with Workers(3, plane, lambda: pointwise(found, plane, ["loss"], 12)) as workers:
        victim = next(iter(workers._workers.values()))
        os.kill(victim.pid, signal.SIGKILL)
        losses = [values["loss"] for values in workers(places)]
        assert losses == pytest.approx([float(found.loss(plane.at(place))) for place in places])
        for process in list(workers._workers.values()):
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(OutOfMemory, match="workers=1"):
            workers(places)


def test_what_a_worker_raises_is_raised() -> None:
    found = objective()
    plane = random_plane(found)

    def measure(theta: torch.Tensor) -> dict[str, float]:
        raise InvalidArgument("nothing to measure")

    with (
        Workers(2, plane, lambda: nullcontext(measure)) as workers,
        pytest.raises(InvalidArgument, match="nothing"),
    ):
        workers([[0.0, 0.0]])


class Unpicklable(RuntimeError):
    """Holds what no other process can be given."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.held = lambda: None


class OfTwo(RuntimeError):
    """Can be taken apart but not put together again: it is made of two arguments and keeps one."""

    def __init__(self, what: str, where: int) -> None:
        super().__init__(f"{what} at {where}")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unpicklable("no such thing"), "Unpicklable: no such thing"),
        (OfTwo("no such thing", 3), "OfTwo: no such thing at 3"),
    ],
)
def test_an_exception_that_stays_behind_is_told(error: Exception, told: str) -> None:
    found = objective()
    plane = random_plane(found)

    def measure(theta: torch.Tensor) -> dict[str, float]:
        raise error

    with (
        Workers(2, plane, lambda: nullcontext(measure)) as workers,
        pytest.raises(ThalwegError, match=f"^{told}$"),
    ):
        workers([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]])


class Slow(torch.nn.Module):
    """Gives way to other processes before the layers after it read their weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(1e-3)
        return x


def test_a_model_in_shared_memory() -> None:
    """Each worker moves weights of its own, not those that all of them share."""
    model = torch.nn.Sequential(Slow(), relu_network(torch.nn.Tanh))
    found = Objective(model, F.cross_entropy, cancer(60))
    plane = random_plane(found)
    alone = evaluate(found, plane, 9, rtol=0)
    model.share_memory()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    both = evaluate(found, plane, 9, rtol=0, workers=2)
    np.testing.assert_allclose(both.values["loss"], alone.values["loss"], rtol=1e-9)
    assert all(map(torch.equal, before, model.parameters()))
    assert all(parameter.is_shared() for parameter in model.parameters())


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Also run with 20 moments, once: the same map each time, no committed point again."""
    whole = slice_of(tmp_path / "whole")
    folder = tmp_path / "broken"
    script = SCRIPT.format(path=[str(Path(__file__).parent.parent), *sys.path], folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    draw = random.Random(seed)
    wanted = draw.randrange(1, whole.evaluations - 1)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / "run.sqlite").exists() and committed(folder) >= wanted:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # The workers go with it.
    while anyone_left(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not anyone_left(process.pid)
    kept = committed(folder)
    again = slice_of(folder)
    assert again.evaluations == whole.evaluations - kept
    for name, values in whole.values.items():
        assert np.array_equal(values, again.values[name])
    with Run.read(folder) as run:
        grid = "slice.evaluated"
        assert run.evaluations(grid) == len(run.points(grid)) == whole.evaluations


def anyone_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def committed(folder: Path) -> int:
    try:
        with Run.read(folder) as run:
            return len(run.points("slice.evaluated"))
    except Exception:
        return 0


def test_bad_input() -> None:
    found = objective()
    with pytest.raises(InvalidArgument, match="workers"):
        evaluate(found, random_plane(found), workers=0)
    with pytest.raises(InvalidArgument, match="rtol=0 evaluates every point"):
        evaluate(found, random_plane(found), rtol=None, workers=2)


def test_an_unknown_metric_is_one_with_workers_too() -> None:
    objective = Objective(torch.nn.Linear(4, 3), F.mse_loss, (torch.randn(5, 4), torch.randn(5, 3)))
    with pytest.raises(InvalidArgument, match="metric must be"):
        evaluate(objective, random_plane(objective), 9, rtol=0, metrics=["los"], workers=2)
