"""K40: full-batch gradient descent rides the edge of stability (Cohen et al. 2021)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from thalweg import problems
from thalweg.curvature import eigenpairs, hessian
from thalweg.objective import Objective

RATE = 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_eigenvalue_rises_to_two_over_the_rate_and_stays(seed):
    """λmax starts below three quarters of 2/η, arrives within 450 steps and stays within 15 % of it until step 750."""
    x, y = problems.get("digits").train
    x, target = x[:100] / 2, one_hot(y[:100], 10).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 10))

    def loss(output, target):
        return (output - target).square().sum(1).mean() / 2

    objective = Objective(model, loss, (x, target))
    values, products, start = [], [], None
    for step in range(751):
        if step % 75 == 0:
            with hessian(objective) as operator:
                pairs = eigenpairs(operator, 1, tol=0.01, start=start)
            start = pairs.vectors[:, 0]
            values.append(float(pairs.values[0]) * RATE / 2)
            products.append(pairs.products)
            assert bool(pairs.converged[0])
        slopes = torch.autograd.grad(loss(model(x), target), list(model.parameters()))
        with torch.no_grad():
            for p, slope in zip(model.parameters(), slopes, strict=True):
                p -= RATE * slope
    assert values[0] < 3 / 4
    assert max(abs(value - 1) for value in values[6:]) < 0.15
    # The last vector is a good start for the next: all but never is a restart needed.
    assert max(products[1:]) <= products[0] + 20
