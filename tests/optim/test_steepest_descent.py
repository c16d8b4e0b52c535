"""Steepest descent: Cauchy's zig-zag, its rate, and what it does to a model."""

import itertools

import pytest
import torch

import thalweg as tw
from thalweg.errors import InvalidArgument


def test_zig_zag_from_the_worst_start():
    """Claim K5: directions are orthogonal, and f falls by ((κ−1)/(κ+1))² at every step."""
    kappa = 25.0
    surface = tw.surfaces.quadratic(condition_number=kappa, dim=2)
    curvatures = surface.hessian().diagonal()
    descent = tw.optim.SteepestDescent(surface, "exact", start=1 / curvatures)
    loss, gradient = descent.loss, descent.gradient
    for _ in range(20):
        step = descent.step()
        cosine = gradient @ descent.gradient / (gradient.norm() * descent.gradient.norm())
        assert abs(cosine) < 1e-6
        assert step.loss / loss == pytest.approx(((kappa - 1) / (kappa + 1)) ** 2, rel=1e-2)
        loss, gradient = step.loss, descent.gradient


@pytest.mark.parametrize("line_search", ["exact", "armijo", "wolfe"])
def test_goes_down_and_counts(line_search):
    surface = tw.surfaces.rosenbrock()
    descent = tw.optim.SteepestDescent(surface, line_search, start=[-1.5, 2.0])
    losses = [descent.loss]
    for _ in range(200):
        step = descent.step()
        assert step.met
        assert step.evaluations >= 1
        losses.append(step.loss)
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert float(surface.loss(descent.theta)) == losses[-1]


def test_a_models_parameters_move():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    x, y = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    objective = tw.Objective(model, torch.nn.MSELoss(), (x, y))
    descent = tw.optim.SteepestDescent(objective, "wolfe")
    for _ in range(40):
        step = descent.step()
    # Least squares: the closed form.
    design = torch.cat([x, torch.ones(20, 1).double()], 1)
    best = torch.linalg.lstsq(design, y).solution
    assert step.loss == pytest.approx(float((design @ best - y).square().mean()), rel=1e-6)
    assert torch.nn.functional.mse_loss(model(x), y).item() == pytest.approx(step.loss, rel=1e-12)


def test_stays_at_a_critical_point():
    surface = tw.surfaces.quadratic(condition_number=10, dim=2)
    descent = tw.optim.SteepestDescent(surface, start=[0.0, 0.0])
    step = descent.step()
    assert (step.rate, step.evaluations) == (0.0, 0)
    assert torch.equal(step.theta, torch.zeros(2).double())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"line_search": "newton"}, "line_search must be one of"),
        ({"first": 0.0}, "first must be finite and above 0, got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        tw.optim.SteepestDescent(tw.surfaces.rosenbrock(), **arguments)
