"""The covariance of gradients against one gradient for each sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.curvature.matrices.cases import CASES, MASKED, NEXT, WEIGHTS, WORDS, X, Y, mlp
from tests.curvature.matrices.expectations import evaluated, slope
from tests.objective.zoo import ZOO, Case, Tied, normal, seeded, token_cross_entropy
from torch import nn

from thalweg import surfaces
from thalweg.curvature.matrices.fisher import fisher
from thalweg.curvature.matrices.gradient_covariance import gradient_covariance
from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.objective import Objective

# Some hundred float64 products of numbers of order one, through at most ten layers: about 1e3 · eps.
RELATIVE = 1e-9


def assert_close(found, wanted):
    assert float((found - wanted).abs().max()) <= RELATIVE * float(wanted.abs().max())


def of_samples(model, terms):
    """Mean of gₙ gₙᵀ and of gₙ, gₙ the gradient of N times the n-th term."""
    with evaluated(model) as model:
        gradients = torch.stack([slope(model, term) for term in terms(model)])
    gradients = gradients * len(gradients)
    return gradients.T @ gradients / len(gradients), gradients.mean(0)


# name: the parts of the mean loss that each sample puts in, written for one sample at a time
TERMS = {
    "cross-entropy": lambda m: [F.cross_entropy(m(x), y) / 7 for x, y in zip(X, Y, strict=True)],
    "cross-entropy, class weights": lambda m: [
        F.cross_entropy(m(x), y) * WEIGHTS[y] / WEIGHTS[Y].sum() for x, y in zip(X, Y, strict=True)
    ],
    "cross-entropy of tokens, tied weights": lambda m: [
        token_cross_entropy(m(x[None]), y[None]) / 7 for x, y in zip(WORDS, NEXT, strict=True)
    ],
    "squared error": lambda m: [
        F.mse_loss(m(x), y) / 7 for x, y in zip(X, CASES["squared error"].y, strict=True)
    ],
    "squared error, sum": lambda m: [
        (m(x) - y).square().sum() / 7 for x, y in zip(X, CASES["squared error"].y, strict=True)
    ],
    "bits": lambda m: [
        F.binary_cross_entropy_with_logits(m(x), y) / 7 for x, y in zip(X, CASES["bits"].y, strict=True)
    ],
}


@pytest.mark.parametrize("options", [{}, {"microbatch": 2}, {"memory_budget": 0}])
@pytest.mark.parametrize("name", TERMS)
def test_it_is_the_mean_over_samples(name, options):
    case = CASES[name]
    square, mean = of_samples(case.model(), TERMS[name])
    objective = Objective(case.model(), case.loss, case.data, **options)
    with gradient_covariance(objective) as operator:
        assert_close(operator.dense(), square)
    with gradient_covariance(objective, centered=True) as operator:
        assert_close(operator.dense(), square - torch.outer(mean, mean))
        v = normal(objective.size, 2, seed=1)
        assert_close(operator @ v, (square - torch.outer(mean, mean)) @ v)
        assert_close(operator @ v[:, 1], (square - torch.outer(mean, mean)) @ v[:, 1])
        assert operator.products == objective.size + 3
        assert operator.name == "centered gradient covariance"


def test_masked_tokens_count_by_sample():
    """A sample with more kept tokens has a larger part of the loss, and the mean of all parts is the gradient."""
    kept = (MASKED != -100).sum()

    def terms(model):
        return [
            F.cross_entropy(model(x), y, ignore_index=-100, reduction="sum") / kept
            for x, y in zip(WORDS, MASKED, strict=True)
        ]

    square, mean = of_samples(seeded(Tied()), terms)

    def counted(batch):
        return float((batch[1] != -100).sum())

    for microbatch in (None, 1, 2):
        objective = Objective(
            seeded(Tied()),
            token_cross_entropy,
            (WORDS, MASKED),
            batch_size=3,
            count=counted,
            microbatch=microbatch,
        )
        assert_close(objective.gradient(), mean)
        assert_close(gradient_covariance(objective).dense(), square)


@pytest.mark.parametrize(
    "name",
    [
        "batch-norm eval, dropout",
        "batch-norm batch",
        "batch-norm recalibrate",
        "gru",
        "multi-head attention",
        "tied embedding",
        "keyword inputs",
        "own loss",
        "own loss, outputs",
        "batch_loss, outputs",
        "frozen layer",
        "predicate",
    ],
)
def test_the_zoo(name):
    """With J and the loss's slope u of the whole output by plain autograd: N Σ (Jₙᵀuₙ)(Jₙᵀuₙ)ᵀ."""
    case: Case = ZOO[name]()
    objective = Objective(case.model, **case.arguments)
    if case.output_of_batch is None:
        with pytest.raises(InvalidArgument, match="outputs"):
            gradient_covariance(objective, case.theta) @ case.theta
        return
    oracle = case.dense()
    z = oracle._of_theta(oracle._outputs)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        jacobian = torch.autograd.functional.jacobian(z, oracle.theta)
        output = z(oracle.theta).detach().requires_grad_()
    (u,) = torch.autograd.grad(oracle._output_loss(output), output)
    gradients = torch.einsum("n...p,n...->np", jacobian, u)
    wanted = len(gradients) * gradients.T @ gradients
    with gradient_covariance(objective, case.theta) as operator:
        assert_close(operator.dense(), wanted)
    with gradient_covariance(objective, case.theta, centered=True) as operator:
        assert_close(operator.dense(), wanted - torch.outer(oracle.gradient, oracle.gradient))


def test_centered_has_no_negative_eigenvalue():
    case = CASES["cross-entropy"]
    objective = Objective(case.model(), case.loss, case.data)
    values = torch.linalg.eigvalsh(gradient_covariance(objective, centered=True).dense())
    # Rounding of the products is √n eps times the norm.
    assert float(values[0]) >= -1e-14 * float(values[-1])
    # Of seven gradients around their mean six are independent.
    assert int((values > 1e-12 * values[-1]).sum()) == 6


def test_one_row_per_sample_is_the_empirical_fisher():
    case = CASES["cross-entropy"]
    objective = Objective(case.model(), case.loss, case.data)
    assert_close(gradient_covariance(objective).dense(), fisher(objective, kind="empirical").dense())


def test_a_loss_without_a_likelihood():
    objective = Objective(mlp(), nn.HuberLoss(delta=0.3), (X, CASES["squared error"].y), batch_size=4)
    y = CASES["squared error"].y
    square, _ = of_samples(
        mlp(), lambda m: [F.huber_loss(m(a), b, delta=0.3) / 7 for a, b in zip(X, y, strict=True)]
    )
    assert_close(gradient_covariance(objective).dense(), square)


def test_flattened_outputs_are_refused():
    objective = Objective(
        seeded(Tied()),
        F.cross_entropy,
        [{"words": WORDS, "next": NEXT}],
        outputs=lambda model, batch: (model(batch["words"]).flatten(0, 1), batch["next"].flatten()),
    )
    with pytest.raises(
        InvalidArgument, match=r"output \(21, 6\) for 7 samples; return \(output, target\) with"
    ):
        gradient_covariance(objective) @ objective.point
    # By token it makes no difference.
    whole = Objective(seeded(Tied()), token_cross_entropy, (WORDS, NEXT))
    assert_close(fisher(objective, kind="empirical").dense(), fisher(whole, kind="empirical").dense())


def test_surfaces_have_no_samples():
    with pytest.raises(NotDifferentiable, match="himmelblau has no gradient covariance"):
        gradient_covariance(surfaces.himmelblau())
