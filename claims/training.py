"""Networks trained for the experiments: on scikit-learn's digits and on a subset of CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw
from thalweg.problems.cifar import cifar_images


@dataclass(frozen=True)
class Trained:
    """A network, its weights (n,) at the start and after each of its recorded steps, and the data that it learned."""

    model: nn.Module
    path: list[Tensor]
    data: tuple[Tensor, Tensor]

    def objective(self, samples: int = 512, batch_size: int | None = None) -> tw.Objective:
        """The mean cross-entropy on the first samples, with the batch-norm statistics that each point would have."""
        x, y = self.data
        normed = any(isinstance(module, nn.BatchNorm2d) for module in self.model.modules())
        statistics = "recalibrate" if normed else "eval"
        data = x[:samples], y[:samples]
        return tw.Objective(self.model, F.cross_entropy, data, batch_size=batch_size, batchnorm=statistics)


def digits(seed: int, width: int = 64, epochs: int = 20, records: int = 2) -> Trained:
    """A ReLU network 64-w-10 on the training digits, by SGD with momentum."""
    data = tw.problems.get("digits").train
    make = lambda: nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))  # noqa: E731
    return _trained(make, data, seed, epochs, records, rate=0.05, batch=64)


def resnet(seed: int, depth: int = 8, images: int = 2000, epochs: int = 12, records: int = 2) -> Trained:
    """A ResNet on the first images of the CIFAR-10 subset, by SGD with momentum and a cosine schedule.

    Raises MissingData where the subset is not found.
    """
    x, y = cifar_images().train
    data = x[:images], y[:images]
    return _trained(lambda: tw.problems.ResNet(depth), data, seed, epochs, records, rate=0.1, batch=100)


def _trained(
    make: Callable[[], nn.Module],
    data: tuple[Tensor, Tensor],
    seed: int,
    epochs: int,
    records: int,
    *,
    rate: float,
    batch: int,
) -> Trained:
    x, y = data
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    order = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(len(x), generator=order).split(batch) for _ in range(epochs)]
    steps = [rows for batches in passes for rows in batches]
    sgd = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, len(steps))
    path = [_flat(model)]
    model.train()
    for number, rows in enumerate(steps, 1):
        sgd.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        sgd.step()
        cosine.step()
        if number % (len(passes[0]) // records) == 0:
            path.append(_flat(model))
    return Trained(model.eval(), path, data)


def _flat(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()
