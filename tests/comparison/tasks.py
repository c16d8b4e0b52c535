"""A problem of 120 samples, made anew at each call as in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.problems import Problem, Training

EPOCHS = 4
BATCH = 20


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=draw)
    return x, (x[:, 0] + 0.1 * torch.randn(count, generator=draw) > 0).long()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 2))


def batchnorm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def task(model: Callable[[], nn.Module] = plain, loss: Any = cross_entropy, train: Any = None) -> Problem:
    training = Training("momentum", lr=0.1, momentum=0.9, batch_size=BATCH, epochs=EPOCHS)
    return Problem(
        "small", model, loss, samples(120, 0) if train is None else train, samples(20, 1), training
    )
