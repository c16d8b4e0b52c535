from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from thalweg.problems import Problem, Training

TORCH: dict[str, Callable[[Any, Training], torch.optim.Optimizer]] = {
    "sgd": lambda p, t: torch.optim.SGD(p, t.lr, weight_decay=t.weight_decay),
    "momentum": lambda p, t: torch.optim.SGD(p, t.lr, t.momentum, weight_decay=t.weight_decay),
    "nesterov": lambda p, t: torch.optim.SGD(p, t.lr, t.momentum, weight_decay=t.weight_decay, nesterov=True),
    "adam": lambda p, t: torch.optim.Adam(p, t.lr, weight_decay=t.weight_decay),
    "adamw": lambda p, t: torch.optim.AdamW(p, t.lr, weight_decay=t.weight_decay),
}


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """Finds a data file that is not part of the project, or skips the test."""
    folder = Path(os.environ.get("THALWEG_DATA") or Path(__file__).parents[3] / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}: set THALWEG_DATA to the folder that holds it")
        return folder / name

    return find


@pytest.fixture
def trained_accuracy() -> Iterator[Callable[[Problem], float]]:
    """Trains a problem by its default settings in a plain torch loop; gives its test accuracy."""
    # Batches of 64 small images gain nothing from threads, and threads that wait for a busy core lose much.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def train(problem: Problem) -> float:
        model = problem.make_model()
        optimizer = TORCH[problem.training.optimizer](model.parameters(), problem.training)
        generator = torch.Generator().manual_seed(0)
        x, y = problem.train
        for _ in range(problem.training.epochs):
            for batch in torch.randperm(len(x), generator=generator).split(problem.training.batch_size):
                optimizer.zero_grad()
                problem.loss_fn(model(x[batch]), y[batch]).backward()
                optimizer.step()
        x, y = problem.test
        with torch.no_grad():
            return (model.eval()(x).argmax(-1) == y).double().mean().item()

    yield train
    torch.set_num_threads(threads)
