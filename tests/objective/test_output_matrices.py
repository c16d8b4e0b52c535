"""Products JᵀMJv of every M: one linearization for all, in every way of differentiating, in any memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.objective.output_matrices import (
    EmpiricalFisher,
    ExactFisher,
    LossHessian,
    SampledFisher,
    SampleGradients,
)

from .test_differences import Once
from .test_memory import DEVICE, HOST, X, Y, make, theta_of
from .test_objective import assert_same
from .zoo import ZOO, displaced, normal, seeded

MATRICES = [
    LossHessian(),
    ExactFisher(),
    SampledFisher(3),
    SampledFisher(3, 4),
    EmpiricalFisher(),
    SampleGradients(),
]


@pytest.fixture(params=MATRICES, ids=lambda matrix: f"{matrix.name} {getattr(matrix, 'samples', '')}")
def matrix(request):
    return request.param


def product(objective, matrix, theta, v):
    with objective.at(theta) as here:
        return here.output_product(v, matrix)


@pytest.mark.parametrize("memory_budget", [None, 0])
def test_models_that_cannot_be_differentiated_twice(matrix, memory_budget):
    model = seeded(Once(torch.tanh))
    theta = displaced(model)
    v = normal(theta.numel(), 2, seed=3)
    wanted = product(Objective(model, F.cross_entropy, (X, Y), batch_size=4), matrix, theta, v)
    objective = Objective(seeded(Once()), F.cross_entropy, (X, Y), batch_size=4, memory_budget=memory_budget)
    with objective.at(theta) as here:
        found = here.output_product(v, matrix)
        assert here.strategy == "finite differences"
        # The step is eps^(1/3): truncation and rounding are both eps^(2/3) = 4e-11 times derivatives of order one.
        assert 0 < here.difference_error < 1e-8
        assert float((found - wanted).norm()) <= 1e-8 * float(wanted.norm())
        assert not here.output_product(torch.zeros_like(v), matrix).any()
    assert len(objective.notes) == 1


def test_fused_attention(matrix):
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ZOO["scaled dot product"]().model

        def forward(self, x):
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return self.inner(x)

    case = ZOO["scaled dot product"]()
    v = normal(case.theta.numel(), seed=1)
    wanted = product(Objective(case.model, **case.arguments), matrix, case.theta, v)
    found = product(Objective(Fused(), **case.arguments), matrix, case.theta, v)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("error", [DEVICE, HOST], ids=["device", "host"])
@pytest.mark.parametrize("graph", [1.0, 2.5])
def test_the_batch_is_halved_until_it_fits(matrix, graph, error):
    whole, short = make(), make(limit=3, error=error, graph=graph)
    theta = theta_of(whole)
    v = normal(whole.size, seed=2)
    assert_same(product(short, matrix, theta, v), product(whole, matrix, theta, v))
    assert short.batches.microbatch in (1, 2)


def test_memory_that_runs_out_in_a_later_batch_starts_the_labels_over():
    data = [(X[:2], Y[:2]), (X[2:], Y[2:])]
    whole = Objective(make().model, F.cross_entropy, data)
    short = Objective(make(limit=3, graph=1.0).model, F.cross_entropy, data)
    v = normal(whole.size, seed=2)
    assert_same(product(short, SampledFisher(3), None, v), product(whole, SampledFisher(3), None, v))
    assert short.batches.microbatch == 2


@pytest.mark.parametrize("memory_budget", [None, 0])
def test_one_point_serves_all_in_any_order(memory_budget):
    objective = make(batch_size=4, memory_budget=memory_budget)
    theta = theta_of(objective)
    v = normal(objective.size, 2, seed=2)
    wanted = [product(objective, matrix, theta, v) for matrix in MATRICES]
    with objective.at(theta) as here:
        for _ in range(2):
            for matrix, one in reversed(list(zip(MATRICES, wanted, strict=True))):
                assert_same(here.output_product(v, matrix), one)
                assert_same(here.output_product(v[:, 1], matrix), one[:, 1])
        assert_same(here.ggnvp(v), wanted[0])
        # J is linearized once for each batch, whatever the matrix.
        assert len(here._kept) == (3 if memory_budget is None else 0)


def test_batches_of_nothing_but_ignored_targets_take_no_label():
    """They are left out of the sum, in whatever piece they come, and the others' labels are the same."""
    y = torch.tensor([0, 2, 1, -100, -100, -100, -100, -100, 0, 1, -100])
    v = normal(make().size, seed=2)
    found = [
        product(Objective(make().model, F.cross_entropy, (X, y), **options), SampledFisher(0, 3), None, v)
        for options in ({}, {"batch_size": 4}, {"batch_size": 4, "microbatch": 1}, {"batch_size": 3})
    ]
    for other in found[1:]:
        assert_same(other, found[0])


def test_an_output_that_does_not_depend_on_the_parameters(matrix):
    case = ZOO["only an unused layer"]()
    objective = Objective(case.model, **case.arguments)
    assert not product(objective, matrix, case.theta, case.theta).any()


def test_a_model_that_differentiates_inside():
    """A physics-informed loss: the output holds second derivatives of the network."""

    def residual(model, batch):
        x = batch[0].requires_grad_()
        u = model(x)
        (ux,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return ux + u, torch.zeros_like(u)

    def loss(model, batch):
        return F.mse_loss(*residual(model, batch))

    model = seeded(nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)))
    x = normal(9, 1)
    objective = Objective(model, data=[(x,)], batch_loss=loss, outputs=residual)
    v = normal(objective.size, seed=1)
    parameters = list(model.parameters())
    rows = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
            ]
        )
        for entry in residual(model, (x,))[0]
    ]
    jacobian = torch.stack(rows)
    wanted = 2 / 9 * jacobian.T @ jacobian @ v
    for matrix in (LossHessian(), ExactFisher()):
        assert_same(product(objective, matrix, None, v), wanted)


def test_logits_in_half_precision():
    """Parameters in float32, scores in bfloat16: what is done with the scores is done in float32."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(4, 3)

        def forward(self, x):
            return self.line(x).bfloat16()

    model = Mixed()
    objective = Objective(model, F.cross_entropy, (X.float(), Y))
    plain = Objective(model.line, F.cross_entropy, (X.float(), Y))
    v = normal(objective.size, seed=1).float()
    for matrix in MATRICES[1:2] + MATRICES[4:]:
        found, wanted = (product(one, matrix, None, v) for one in (objective, plain))
        assert found.dtype == torch.float32
        # The tangents and cotangents are rounded to 8 bits.
        assert float((found - wanted).norm()) <= 0.02 * float(wanted.norm())


def test_a_wrong_guess_of_the_loss_is_refused(matrix):
    objective = Objective(
        make().model,
        data=[(X, Y)],
        batch_loss=lambda model, batch: 2 * F.cross_entropy(model(batch[0]), batch[1]),
        outputs=lambda model, batch: (model(batch[0]), batch[1]),
    )
    with pytest.raises(InvalidArgument, match="neither cross-entropy nor mean squared error"):
        product(objective, matrix, None, objective.point)
