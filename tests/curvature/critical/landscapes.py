"""Small objectives for searches: networks with weight decay on real data, and surfaces with known ends."""

from __future__ import annotations

import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import nn

from thalweg.objective import Objective
from thalweg.surfaces import Surface


def diabetes(hidden, samples=60, decay=0.01, dtype=torch.float64):
    """Regression of a disease's progression on body mass index, pressure and a serum value, by tanh units."""
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.tensor(x[:samples, [2, 3, 8]]), torch.tensor(y[:samples, None])
    return network(x, y, hidden, decay, dtype)


def wine(hidden, samples=60, decay=0.005, dtype=torch.float64):
    """Regression of a wine's kind, one of three, on three principal components of its analysis, by tanh units."""
    x, y = load_wine(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0))
    components = torch.linalg.svd(x, full_matrices=False).U[:, :3]
    some = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:samples]
    kinds = nn.functional.one_hot(torch.tensor(y)).double()
    return network(components[some], kinds[some], hidden, decay, dtype)


def network(x, y, hidden, decay, dtype):
    """Mean squared error of standardized y and weight decay, as functions of a network with one hidden layer.

    Weight decay is part of the loss: without it many critical points lie at infinity or in connected families.
    """
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, y.shape[1]))
    model = model.to(dtype)

    def loss(model, batch):
        x, y = batch
        squares = sum(p.square().sum() for p in model.parameters())
        return (model(x) - y).square().mean() + decay / 2 * squares

    return Objective(model, batch_loss=loss, data=[(x.to(dtype), y.to(dtype))])


def surface(formula, size=2, **options):
    return Surface("given", formula, torch.ones(size, dtype=torch.float64), **options)


def sloping_fold():
    """x³ + x + y²: ∇ = (3x² + 1, 2y) vanishes nowhere, but ‖∇‖ has a minimum at the origin, where H∇ = 0."""
    return surface(lambda p: p[0] ** 3 + p[0] + p[1] ** 2, domain=(-1.0, 1.0))
