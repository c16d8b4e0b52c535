"""Fisher matrices against sums over every datum and every label that it could have."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from tests.curvature.matrices.cases import CASES, MASKED, REAL, WORDS, X, Y, mlp
from tests.curvature.matrices.expectations import classes, gauss_newton, outer_products
from tests.objective.zoo import ZOO, OwnLoss, normal, seeded
from torch import nn

from thalweg import surfaces
from thalweg.curvature.matrices.fisher import MonteCarloFisher, fisher
from thalweg.curvature.matrices.gauss_newton import ggn
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.objective import Objective

# Both sides add at most some thousand float64 products of numbers of order one through at most ten layers: they
# differ by about 1e4 · eps = 2e-12 of the largest entry. A wrong weight of one datum shows at 1e-2.
DOUBLE = 1e-9
# The same in float32, where the rounding of a thousand terms through ten layers is about √1e4 · eps = 1e-5.
SINGLE = 1e-4


def objective(case, dtype=torch.float64, **options):
    model = case.model().to(dtype)
    data = [tuple(t.to(dtype) if t.is_floating_point() else t for t in batch) for batch in case.data]
    loss = copy.deepcopy(case.loss).to(dtype) if isinstance(case.loss, nn.Module) else case.loss
    return Objective(model, loss, data, **options)


def assert_close(found, wanted, relative=DOUBLE):
    assert float((found - wanted).abs().max()) <= relative * float(wanted.abs().max())


def exact(case):
    return expected(next(name for name, one in CASES.items() if one is case))


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@functools.cache
def expected(name):
    case = CASES[name]
    return outer_products(case.model(), case.x, lambda z: case.likelihood.drawn(z, case.y))


def test_exact_is_the_expectation_over_all_labels(case):
    wanted = exact(case)
    with fisher(objective(case)) as operator:
        assert_close(operator.dense(), wanted)
        assert operator.products == len(wanted)
        v = normal(len(wanted), 3, seed=1)
        assert_close(operator @ v, wanted @ v)
    with fisher(objective(case, memory_budget=0, microbatch=2)) as operator:
        assert_close(operator @ v, wanted @ v)


def test_empirical_has_the_given_labels(case):
    if case.loss is CASES["bits, weighted ones"].loss:
        pytest.skip("the weights of a row's bits differ: it is no one likelihood")
    wanted = outer_products(case.model(), case.x, lambda z: case.likelihood.given(z, case.y))
    for options in ({}, {"memory_budget": 0, "microbatch": 1}):
        with fisher(objective(case, **options), kind="empirical") as operator:
            assert_close(operator.dense(), wanted)


def test_exact_is_gauss_newton(case):
    if case is CASES["log-softmax in the model"]:
        pytest.skip("the loss is linear in log-probabilities")
    wanted = gauss_newton(case.model(), case.x, case.mean_loss)
    with ggn(objective(case)) as operator:
        assert_close(operator.dense(), wanted)
    with fisher(objective(case)) as operator:
        assert_close(operator.dense(), wanted)


def test_gauss_newton_is_zero_where_the_loss_is_linear_in_the_output():
    with ggn(objective(CASES["log-softmax in the model"])) as operator:
        assert not operator.dense().any()


@pytest.mark.parametrize("kind", ["exact", "sampled", "empirical"])
def test_single_precision(case, kind):
    v = normal(objective(case).size, seed=2)
    double, single = (fisher(objective(case, dtype), kind=kind) for dtype in (torch.float64, torch.float32))
    wanted = double @ v
    found = single @ v.float()
    assert found.dtype == torch.float32
    assert_close(found.double(), wanted, SINGLE)


def test_sampled_is_exact_within_its_error(case):
    """‖F̂v − Fv‖ over its standard error has mean square 1; of seven seeds the root mean square is within ±60 %.

    The error is a sum over many data and directions, whose squares vary by less than 100 % each: seven of them by
    two fifths, and the root of their mean by a fifth.
    """
    wanted = exact(case)
    v = normal(len(wanted), seed=3)
    ratios = []
    for seed in range(7):
        with fisher(objective(case), kind="sampled", samples=8, seed=seed) as operator:
            assert isinstance(operator, MonteCarloFisher)
            found = operator @ v
            ratios.append(float((found - wanted @ v).norm()) / (operator.error(v) * float(found.norm())))
            assert operator.products == 9
    assert 0.4 <= math.sqrt(sum(ratio**2 for ratio in ratios) / 7) <= 1.6


def test_many_samples_come_close(case):
    wanted = exact(case)
    v = normal(len(wanted), 5, seed=3)
    with fisher(objective(case), kind="sampled", samples=2000) as operator:
        difference = float((operator @ v - wanted @ v).norm())
    # Of 2000 draws for each of 7 data and more: 1/√2000 = 0.022 times a spread of order one.
    assert difference <= 0.1 * float((wanted @ v).norm())


def test_labels_do_not_depend_on_how_the_data_are_cut(case):
    whole = objective(case)
    v = normal(whole.size, seed=4)
    first = fisher(whole, kind="sampled", samples=3, seed=5)
    wanted = first @ v
    assert torch.equal(first @ v, wanted)
    for options in ({"microbatch": 1}, {"microbatch": 2}, {"memory_budget": 0}):
        other = fisher(objective(case, **options), kind="sampled", samples=3, seed=5)
        assert_close(other @ v, wanted)
        assert_close(other @ v, wanted)
    joined = Objective(case.model(), case.loss, (case.x, case.y))
    assert_close(fisher(joined, kind="sampled", samples=3, seed=5) @ v, wanted)
    assert not torch.allclose(fisher(whole, kind="sampled", samples=3, seed=6) @ v, wanted)


def test_samples_average_their_draws():
    case = CASES["cross-entropy"]
    v = normal(objective(case).size, seed=4)
    operator = fisher(objective(case), kind="sampled", samples=5)
    shorter = fisher(objective(case), kind="sampled", samples=2)
    assert operator.error(v) > 0
    # The products that the error comes from are those of single draws, with the mean of all of them as product.
    point = operator.here
    from thalweg.objective.output_matrices import SampledFisher

    singles = [point.output_product(v, SampledFisher(0, 1, draw)) for draw in range(5)]
    assert_close(operator @ v, sum(singles) / 5)
    assert_close(shorter @ v, sum(singles[:2]) / 2)


def test_sampled_after_another_matrix_at_the_same_point():
    from thalweg.objective.output_matrices import EmpiricalFisher, SampledFisher

    problem = objective(CASES["cross-entropy that skips"])
    v = normal(problem.size, seed=4)
    wanted = fisher(problem, kind="sampled") @ v
    with problem.at() as here:
        here.ggnvp(v)
        here.output_product(v, EmpiricalFisher())
        assert_close(here.output_product(v, SampledFisher(0)), wanted)


@pytest.mark.parametrize("name", ZOO)
def test_exact_is_gauss_newton_over_the_zoo(name):
    case = ZOO[name]()
    problem = Objective(case.model, **case.arguments)
    if case.output_of_batch is None:
        for kind in ("exact", "sampled", "empirical"):
            with pytest.raises(InvalidArgument, match="outputs"):
                fisher(problem, case.theta, kind=kind) @ case.theta
        return
    wanted = case.dense().gauss_newton
    with fisher(problem, case.theta) as operator:
        found = operator.dense()
    assert float((found - wanted).abs().max()) <= DOUBLE * max(float(wanted.abs().max()), 1e-3)
    assert problem.notes == []


def test_dict_batches_with_masked_tokens():
    model = seeded(OwnLoss())
    data = [{"input_ids": x, "labels": y} for x, y in zip(WORDS.split(3), MASKED.split(3), strict=True)]
    problem = Objective(
        model, data=data, outputs=lambda model, batch: (model(batch["input_ids"]).logits, batch["labels"])
    )
    likelihood = classes(lambda y: float(y != -100), lambda y: float((y != -100).sum()), axis=-1)
    for kind, terms in (("exact", likelihood.drawn), ("empirical", likelihood.given)):
        wanted = outer_products(model.body, WORDS, lambda z, terms=terms: terms(z, MASKED))
        assert_close(fisher(problem, kind=kind).dense(), wanted)


def test_smoothed_labels():
    """The weight of a datum is that of its whole target; with true labels it has the slope of the smoothed loss."""
    smooth = nn.CrossEntropyLoss(label_smoothing=0.2)
    problem = Objective(mlp(), smooth, (X, Y), batch_size=3)
    assert_close(fisher(problem).dense(), exact(CASES["cross-entropy"]))

    def terms(z):
        return ((1 / len(Y), smooth(row, label)) for row, label in zip(z, Y, strict=True))

    assert_close(fisher(problem, kind="empirical").dense(), outer_products(mlp(), X, terms))


def huber_terms(z):
    return ((1 / len(X), F.huber_loss(row, label)) for row, label in zip(z, REAL, strict=True))


@pytest.mark.parametrize(
    ("loss", "target", "name"),
    [
        (nn.HuberLoss(), REAL, "HuberLoss"),
        (lambda z, y: F.poisson_nll_loss(z, y.abs()), REAL, "<lambda>"),
        (lambda z, y: F.cross_entropy(z, y) + 1e-4 * z.logsumexp(1).square().mean(), Y, "<lambda>"),
        (lambda z, y: ((1 - z.softmax(1)) ** 2 * F.one_hot(y, 3)).sum(1).mean(), Y, "<lambda>"),
        (lambda z, y: (z * y).mean(), REAL, "<lambda>"),
        (lambda z, y: (z - y).pow(4).mean(), REAL, "<lambda>"),
        (
            lambda z, y: F.binary_cross_entropy(z.sigmoid().clamp(0.1, 0.9), (y > 0).double()),
            REAL,
            "<lambda>",
        ),
    ],
)
def test_losses_without_a_likelihood(loss, target, name):
    for dtype in (torch.float64, torch.float32):
        aim = target.to(dtype) if target.is_floating_point() else target
        problem = Objective(mlp().to(dtype), loss, (X.to(dtype), aim))
        for kind in ("exact", "sampled"):
            with pytest.raises(
                InvalidArgument, match=rf"no likelihood .* {name}.* use ggn\(obj\), or"
            ) as raised:
                fisher(problem, kind=kind)
            assert "\n" not in str(raised.value)
    # By sample, as the uncentred covariance is.
    if name == "HuberLoss":
        problem = Objective(mlp(), loss, (X, target), batch_size=3)
        assert_close(fisher(problem, kind="empirical").dense(), outer_products(mlp(), X, huber_terms))


def test_outputs_that_are_no_log_probabilities():
    problem = Objective(mlp(), F.nll_loss, (X, Y))
    with pytest.raises(InvalidArgument, match="nll_loss takes log-probabilities"):
        fisher(problem) @ problem.point


def test_bad_arguments():
    problem = objective(CASES["cross-entropy"])
    with pytest.raises(InvalidArgument, match="kind must be 'exact' or 'sampled' or 'empirical', got 'true'"):
        fisher(problem, kind="true")
    for samples in (0, -1, 1.5):
        with pytest.raises(InvalidArgument, match="samples must be an integer of at least 1"):
            fisher(problem, kind="sampled", samples=samples)
    v = problem.point
    with pytest.raises(InvalidArgument, match="samples must be at least 2 for an error"):
        fisher(problem, kind="sampled").error(v)
    with pytest.raises(ShapeMismatch, match="v must have shape"):
        fisher(problem, kind="sampled", samples=2).error(v[:, None])
    for kind in ("exact", "sampled", "empirical"):
        with pytest.raises(NotDifferentiable, match="rosenbrock has no Fisher matrix"):
            fisher(surfaces.rosenbrock(), kind=kind)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    problem = Objective(mlp().to(dtype), F.cross_entropy, (X.to(dtype), Y))
    for kind in ("exact", "sampled", "empirical"):
        with pytest.raises(NotDifferentiable, match=rf"the {kind} Fisher matrix needs float32 or float64"):
            fisher(problem, kind=kind) @ problem.point


def test_nothing_global_is_drawn_from():
    problem = objective(CASES["cross-entropy"])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    operator = fisher(problem, kind="sampled", samples=2)
    operator @ problem.point
    operator.error(problem.point)
    assert torch.equal(torch.get_rng_state(), before)
