"""K20: more parameters than data leave minima that are flat in most directions."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from thalweg.curvature import ggn, hessian
from thalweg.objective import Objective

SAMPLES, CLASSES, PARAMETERS = 8, 3, 83


CASES = pytest.mark.parametrize(
    ("name", "rank"), [("squares", SAMPLES * CLASSES), ("cross-entropy", SAMPLES * (CLASSES - 1))]
)


@cache
def fitted(name: str) -> Objective:
    """16-4-3 tanh units on 8 of the digits 0, 1 and 2 at half the resolution.

    Squares are fitted to rounding. Cross-entropy, which has its infimum at infinity, is taken to a loss of 0.01.
    """
    x, y = load_digits(n_class=CLASSES, return_X_y=True)
    x = F.avg_pool2d(torch.tensor(x[:SAMPLES] / 16).view(-1, 1, 8, 8), 2).flatten(1)
    y = torch.tensor(y[:SAMPLES])
    squares = F.one_hot(y, CLASSES).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()
    loss, target = (F.mse_loss, squares) if name == "squares" else (F.cross_entropy, y)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    value = torch.tensor(1.0)
    while float(value.detach()) > 0.01:
        optimizer.zero_grad()
        value = loss(model(x), target)
        value.backward()
        optimizer.step()
    if name == "squares":
        _fit(model, x, squares)
    assert torch.equal(model(x).argmax(1), y)
    return Objective(model, loss, (x, target))


def _fit(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Gauss-Newton's method: the smallest step that fits the outputs to first order."""
    for _ in range(10):
        output = model(x)
        rows = [
            parameters_to_vector(torch.autograd.grad(z, list(model.parameters()), retain_graph=True))
            for z in output.flatten()
        ]
        step = torch.linalg.pinv(torch.stack(rows)) @ (y - output.detach()).flatten()
        vector_to_parameters(parameters_to_vector(model.parameters()).detach() + step, model.parameters())


@CASES
def test_the_rank_of_gauss_newton_is_at_most_that_of_the_outputs(name, rank):
    """N·C with squares and N·(C − 1) with cross-entropy, whose softmax has no curvature along a constant.

    Measured, of 83: 24 eigenvalues down to 5e-5 and the others below 1e-15, with squares at a loss of 4e-32; 16 down to
    2e-6 and the others below 1e-16 with cross-entropy at 0.0098, where the Hessian has rank 42.
    """
    objective = fitted(name)
    assert objective.size == PARAMETERS
    matrix = ggn(objective).dense()
    values = torch.linalg.eigvalsh(matrix).flip(0)
    full = hessian(objective).dense()
    assert np.linalg.matrix_rank(matrix.numpy(), hermitian=True) == rank
    assert float(values[rank]) < 1e-14 * float(values[0]) < 1e-3 * float(values[rank - 1])
    # At interpolation the residuals vanish, and with them what the Hessian has beside it.
    if name == "squares":
        assert float((full - matrix).abs().max()) < 1e-14 * float(values[0])
    else:
        assert np.linalg.matrix_rank(full.numpy(), hermitian=True) > rank


@CASES
def test_a_walk_along_zero_modes_keeps_the_loss(name, rank):
    """100 steps, the direction projected anew at each on the null space of the Gauss-Newton matrix there.

    Measured over 0.1·‖θ‖, ends apart 0.9997 of it: squares from 4e-32 to 4e-9 against 0.0149 along a random direction;
    cross-entropy from 0.009761 to 0.009763 against 0.0143.
    """
    objective = fitted(name)
    begin = objective.point
    distance = 0.1 * float(begin.norm())
    draw = torch.Generator().manual_seed(0)
    direction = torch.randn(PARAMETERS, generator=draw, dtype=torch.float64)
    straight = begin + distance * direction / direction.norm()
    theta, steps = begin.clone(), 100
    for _ in range(steps):
        flat = torch.linalg.eigh(ggn(objective, theta).dense()).eigenvectors[:, :-rank]
        direction = flat @ (flat.T @ direction)
        theta += distance / steps * direction / direction.norm()
    moved = float((theta - begin).norm())
    here, walked, thrown = (float(objective.loss(point)) for point in (begin, theta, straight))
    assert moved > 0.9 * distance
    assert thrown - here > 1e3 * abs(walked - here)
    # The error of a straight step is of second order in its length.
    assert abs(walked - here) < 1e-5
