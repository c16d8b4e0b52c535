"""Where a model has no second derivative, products are differences with an estimated error."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.errors import NotDifferentiable
from thalweg.objective import Objective

from .oracle import Dense
from .zoo import ZOO, displaced, normal, seeded

X, Y = normal(11, 4), torch.arange(11) % 3


class OnceTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * (1 - x.tanh() ** 2)


class Once(nn.Module):
    def __init__(self, activation=OnceTanh.apply):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)
        self.activation = activation

    def forward(self, x):
        return self.b(self.activation(self.a(x)))


@pytest.fixture
def dense():
    """The same function with torch's own tanh."""
    model = seeded(Once(torch.tanh))
    return Dense(
        model,
        lambda model: F.cross_entropy(model(X), Y),
        displaced(model),
        outputs=lambda model: model(X),
        output_loss=lambda z: F.cross_entropy(z, Y),
    )


@pytest.mark.parametrize("memory_budget", [None, 0])
@pytest.mark.parametrize("product", ["hvp", "ggnvp"])
def test_once_differentiable_functions(dense, product, memory_budget):
    objective = Objective(seeded(Once()), F.cross_entropy, (X, Y), batch_size=4, memory_budget=memory_budget)
    matrix = dense.hessian if product == "hvp" else dense.gauss_newton
    v = normal(objective.size, 2, seed=3)
    with objective.at(dense.theta) as here:
        assert here.strategy == "kept graph"
        found = getattr(here, product)(v)
        assert here.strategy == "finite differences"
        # The step is eps^(1/3): truncation and rounding are both eps^(2/3) = 4e-11 times derivatives of order one.
        assert 0 < here.difference_error < 1e-8
        error = (found - matrix @ v).norm(dim=0) / (matrix @ v).norm(dim=0)
        if product == "hvp":
            # The stated error is a difference of two roundings, of which that of the result is the larger.
            assert bool((error <= 2 * here.difference_error).all())
        assert bool((error < 1e-8).all())
        # The other product and a single vector follow.
        one = getattr(here, product)(v[:, 0])
        torch.testing.assert_close(one, found[:, 0], rtol=1e-7, atol=1e-10)
        other = here.ggnvp(v) if product == "hvp" else here.hvp(v)
        matrix = dense.gauss_newton if product == "hvp" else dense.hessian
        torch.testing.assert_close(other, matrix @ v, rtol=1e-7, atol=1e-9)
    assert len(objective.notes) == 1
    assert "no second derivative" in objective.notes[0]
    assert "once_differentiable" in objective.notes[0]
    assert "\n" not in objective.notes[0]
    objective.hvp(v)
    assert len(objective.notes) == 1


def test_differences_of_nothing(dense):
    objective = Objective(seeded(Once()), F.cross_entropy, (X, Y))
    zero = torch.zeros(objective.size, dtype=torch.float64)
    assert torch.equal(objective.hvp(zero), zero)
    assert torch.equal(objective.ggnvp(zero), zero)


def test_the_first_derivative_needs_no_second(dense):
    objective = Objective(seeded(Once()), F.cross_entropy, (X, Y), batch_size=4)
    torch.testing.assert_close(objective.gradient(dense.theta), dense.gradient, rtol=1e-9, atol=1e-12)
    assert objective.notes == []


def test_a_once_differentiable_loss_of_the_output():
    def loss(output, target):
        return F.mse_loss(OnceTanh.apply(output), target)

    target = normal(11, 3)
    model = seeded(Once(torch.tanh))
    dense = Dense(model, lambda model: F.mse_loss(model(X).tanh(), target), displaced(model))
    objective = Objective(model, loss, (X, target))
    v = normal(objective.size, seed=3)
    torch.testing.assert_close(objective.hvp(v, dense.theta), dense.hessian @ v, rtol=1e-7, atol=1e-9)
    with pytest.raises(NotDifferentiable, match="once_differentiable"):
        objective.ggnvp(v, dense.theta)


@pytest.mark.parametrize("name", ["scaled dot product", "multi-head attention", "transformer layer"])
def test_fused_attention_asked_for_outside_is_not_used_for_derivatives(name):
    case = ZOO[name]()
    objective = Objective(case.model, **case.arguments)
    v = normal(objective.size)
    wanted = objective.hvp(v)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), objective.at() as here:
        torch.testing.assert_close(here.hvp(v), wanted, rtol=0, atol=0)
        assert here.strategy == "kept graph"


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("scaled dot product", "kept graph"), ("multi-head attention", "finite differences")],
)
def test_fused_attention_inside_the_model(name, strategy):
    """Of a call in the model itself the second derivative is Thalweg's, within PyTorch's layers there is none."""

    class Fused(nn.Module):
        def __init__(self, backend):
            super().__init__()
            self.inner = ZOO[name]().model
            self.backend = backend

        def forward(self, x):
            with sdpa_kernel(self.backend):
                return self.inner(x)

    case = ZOO[name]()
    objective = Objective(Fused(SDPBackend.FLASH_ATTENTION), **case.arguments)
    dense = case.dense()
    v = normal(objective.size, seed=1)
    with objective.at(case.theta) as here:
        torch.testing.assert_close(here.hvp(v), dense.hessian @ v, rtol=1e-7, atol=1e-9)
        assert here.strategy == strategy
        torch.testing.assert_close(here.ggnvp(v), dense.gauss_newton @ v, rtol=1e-7, atol=1e-9)
    if strategy == "finite differences":
        assert "is not implemented" in objective.notes[0]
