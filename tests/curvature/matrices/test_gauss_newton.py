"""The generalized Gauss-Newton matrix against JᵀHJ from dense Jacobians."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from curvature.models import trained
from thalweg import surfaces
from thalweg.curvature import eigenpairs, ggn, hessian
from thalweg.errors import NotDifferentiable
from thalweg.objective import Objective

EPS = torch.finfo(torch.float64).eps


def classifier(hidden):
    """A softmax classifier of 4 inputs and 3 classes on 20 points, with a hidden layer or linear in θ."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=draw, dtype=torch.float64)
    y = torch.randint(0, 3, (20,), generator=draw)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)] if hidden else [nn.Linear(4, 3)]
        model = nn.Sequential(*layers).double()
    return model, x, y


def exact_matrix(model, x, y):
    """Mean over samples of Jᵀ (diag p − ppᵀ) J, with the softmax's Hessian written out (Martens 2020, eq. 6)."""
    parameters = dict(model.named_parameters())
    rows = []
    output = model(x)
    for entry in output.flatten():
        slopes = torch.autograd.grad(entry, list(parameters.values()), retain_graph=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    jacobian = torch.stack(rows).view(len(x), 3, -1)
    p = output.softmax(1).detach()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    return torch.einsum("bci,bcd,bdj->ij", jacobian, middle, jacobian) / len(x)


def test_it_is_the_dense_matrix():
    model, x, y = classifier(hidden=True)
    with ggn(Objective(model, F.cross_entropy, [(x[:13], y[:13]), (x[13:], y[13:])])) as operator:
        found = operator.dense()
    exact = exact_matrix(model, x, y)
    # Sums of 60 products in another order.
    assert float((found - exact).abs().max()) <= 100 * EPS * float(exact.abs().max())


def test_it_has_no_negative_eigenvalue_though_the_hessian_has():
    model, (x, y) = trained("mlp")
    objective = Objective(model, F.cross_entropy, (x, y))
    with ggn(objective) as operator:
        lowest = eigenpairs(operator, 3, "smallest", 1e-6)
        highest = eigenpairs(operator, 1, "largest")
    # Rounding of the products is √n eps times the norm.
    assert float(lowest.values.min()) >= -1e-12 * float(highest.values[0])
    with hessian(objective) as operator:
        pairs = eigenpairs(operator, 1, "smallest")
    assert float(pairs.values[0]) < -float(pairs.residuals[0])
    model, x, y = classifier(hidden=True)
    with ggn(Objective(model, F.cross_entropy, (x, y))) as operator:
        dense = torch.linalg.eigvalsh(operator.dense())
    assert float(dense[0]) >= -1e-13 * float(dense[-1])


def test_it_is_the_hessian_of_a_model_that_is_linear_in_its_parameters():
    model, x, y = classifier(hidden=False)
    objective = Objective(model, F.cross_entropy, (x, y))
    with ggn(objective) as first, hessian(objective) as second:
        torch.testing.assert_close(first.dense(), second.dense(), rtol=0, atol=100 * EPS)
        assert first.name == "Gauss-Newton matrix"


def test_surfaces_of_residuals():
    """For ½‖r‖² with r = (√200 (y − x²), √2 (1 − x)) it is JᵀJ."""
    surface = surfaces.rosenbrock()
    x = -0.7
    theta = torch.tensor([x, 2.0], dtype=torch.float64)
    exact = torch.tensor([[800 * x * x + 2, -400 * x], [-400 * x, 200.0]], dtype=torch.float64)
    torch.testing.assert_close(ggn(surface, theta).dense(), exact, rtol=1e-13, atol=0)


def test_other_surfaces_have_none():
    with pytest.raises(NotDifferentiable, match="has no Gauss-Newton matrix"):
        ggn(surfaces.monkey_saddle()).dense()


@pytest.mark.parametrize("loss", [F.cross_entropy, F.binary_cross_entropy_with_logits])
def test_nothing_cancels_where_predictions_are_all_but_certain(loss):
    """At interpolation p is one to rounding, and p − p² nothing but rounding: here 1 − p is 2e-8 at a unit of 6e-8."""
    logits = torch.tensor([[18.0, 0.0, -2.0], [-1.0, 17.5, 3.0]])
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(logits.T)
    classes = torch.tensor([0, 1])
    target = classes if loss is F.cross_entropy else F.one_hot(classes, 3).float()
    found = ggn(Objective(model, loss, (torch.eye(2), target))).dense().view(3, 2, 3, 2)
    for row, z in enumerate(logits.double()):
        if loss is F.cross_entropy:
            # Σ pⱼpₖ(eⱼ − eₖ)(eⱼ − eₖ)ᵀ over pairs of classes: a sum of what has one sign in every entry.
            pairs = torch.outer(z.softmax(0), z.softmax(0)).fill_diagonal_(0)
            exact = (torch.diag(pairs.sum(1)) - pairs) / 2
        else:
            exact = torch.diag(z.sigmoid() * (-z).sigmoid()) / 6
        torch.testing.assert_close(found[:, row, :, row].double(), exact, rtol=1e-5, atol=0)
