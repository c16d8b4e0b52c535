"""Derivatives at many points against each objective's own, and how they are counted."""

from __future__ import annotations

import pytest
import torch
from tests.curvature.critical.landscapes import diabetes
from tests.curvature.models import case
from torch import nn

from thalweg import surfaces
from thalweg.curvature import hessian
from thalweg.curvature.critical import derivatives as module
from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.objective import Objective


class Unmapped(torch.autograd.Function):
    """x³ with no rule for mapping over points."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class Cubic(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return Unmapped.apply(self.linear(x))


def unmappable():
    torch.manual_seed(0)
    x = torch.randn(7, 2, dtype=torch.float64)
    return Objective(Cubic().double(), nn.MSELoss(), (x, x.flip(1)))


def in_two_batches():
    torch.manual_seed(0)
    x = torch.randn(9, 3, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2)).double()
    return Objective(model, nn.MSELoss(), [(x[:7], x[:7, :2]), (x[7:], x[7:, 1:])])


def near(objective, count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, objective.size, generator=draw, dtype=torch.float64)
    return (objective.point + 0.1 * noise.to(objective.dtype)).contiguous()


OBJECTIVES = {
    "himmelblau": surfaces.himmelblau,
    "network": lambda: surfaces.linear_network(3),
    "mlp": lambda: diabetes(8),
    "in two batches": in_two_batches,
    "attention": lambda: case("attention").objective,
    "convolutional": lambda: case("convolutional").objective,
    "recurrent": lambda: case("recurrent").objective,
    "not mappable": unmappable,
}


@pytest.mark.parametrize("name", ["himmelblau", "network", "mlp", "in two batches", "not mappable"])
def test_gradients_and_hessians(name):
    objective = OBJECTIVES[name]()
    found = Derivatives(objective)
    points = near(objective, 3)
    slopes, matrices = found.gradient(points), found.hessian(points)
    for point, slope, matrix in zip(points, slopes, matrices, strict=True):
        own = objective.gradient(point)
        # The sums over samples are taken in another order.
        assert (slope - own).norm() <= 1e-13 * own.norm()
        with hessian(objective, point) as operator:
            dense = operator.dense()
        assert (matrix - dense).norm() <= 1e-12 * dense.norm()
        assert torch.equal(matrix, matrix.T)
    assert (found.gradients, found.hessians) == (3, 3)


@pytest.mark.parametrize("name", ["himmelblau", "mlp", "not mappable"])
def test_at_no_points(name):
    objective = OBJECTIVES[name]()
    found, n = Derivatives(objective), objective.size
    none = objective.point.new_empty(0, n)
    assert found.gradient(none).shape == (0, n)
    assert found.hessian(none).shape == (0, n, n)


@pytest.mark.parametrize("name", ["attention", "convolutional", "recurrent"])
def test_gradients_of_other_layers(name):
    """Whether they can be mapped or not: batch-norm statistics, attention and recurrence are left as they are."""
    objective = OBJECTIVES[name]()
    before = {key: value.clone() for key, value in objective.model.state_dict().items()}
    points = near(objective, 2)
    slopes = Derivatives(objective).gradient(points)
    for point, slope in zip(points, slopes, strict=True):
        own = objective.gradient(point)
        assert (slope - own).norm() <= 1e-12 * own.norm()
    assert all(torch.equal(value, before[key]) for key, value in objective.model.state_dict().items())


def test_blocks_of_points(monkeypatch):
    """However few points fit into memory at once, the result is the same."""
    objective = diabetes(8)
    points = near(objective, 5)
    whole = Derivatives(objective).hessian(points)
    monkeypatch.setattr(module, "HELD", 1)
    single = Derivatives(objective).hessian(points)
    # Products of matrices of another number of columns are rounded differently.
    assert (whole - single).abs().max() <= 1e-13 * whole.abs().max()


def test_points_that_are_not_finite():
    objective = diabetes(8)
    points = near(objective, 2)
    points[0, 0] = torch.inf
    found = Derivatives(objective)
    slopes = found.gradient(points)
    assert not slopes[0].isfinite().all()
    assert torch.allclose(slopes[1], objective.gradient(points[1]), rtol=1e-12)
    assert found._mapped
