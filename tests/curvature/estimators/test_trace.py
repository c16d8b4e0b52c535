"""Traces against dense ones, and error bars against how often they hold."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from curvature.models import MODELS, case
from curvature.spectra import rotated
from thalweg.curvature import SymmetricOperator, hessian, trace
from thalweg.errors import InvalidArgument

N = 120
RUNS = 300
EPS = torch.finfo(torch.float64).eps
SPECTRA = {
    "slow decay": torch.arange(1, N + 1, dtype=torch.float64) ** -1.0,
    "fast decay": torch.arange(1, N + 1, dtype=torch.float64) ** -1.5,
    "uniform": torch.linspace(0, 1, N, dtype=torch.float64),
    "indefinite": torch.linspace(-1, 1.5, N, dtype=torch.float64),
    "outliers": torch.cat([torch.tensor([50.0, 20, 10, 5, 4, 3, 2, 2]), torch.linspace(-0.2, 0.4, N - 8)]).double(),
}  # fmt: skip
FEWEST = {"hutchinson": 12, "hutch++": 12 + 2 * 12, "xtrace": 2 * 12}
METHODS = list(FEWEST)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_models(name, method):
    known = case(name)
    exact = float(known.eigenvalues.sum())
    with hessian(known.objective) as operator:
        found = trace(operator, method, rtol=0.2, max_products=120)
        assert found.products == operator.products <= 120
    # Two of them hold as often as two of a normal number: four, of samples that need not be normal, nearly always.
    assert abs(found.value - exact) <= 4 * found.stderr
    assert found.converged == (found.stderr <= 0.2 * abs(found.value))
    assert found.method == method


@pytest.mark.parametrize(
    ("name", "method", "rtol"),
    [
        ("slow decay", "xtrace", 0.05),
        ("slow decay", "xtrace", 0.015),
        ("outliers", "xtrace", 0.02),
        ("indefinite", "xtrace", 0.1),
        ("uniform", "xtrace", 0.02),
        ("slow decay", "hutch++", 0.02),
        ("indefinite", "hutch++", 0.1),
        ("slow decay", "hutchinson", 0.05),
        ("outliers", "hutchinson", 0.1),
    ],
)
def test_error_bars_hold_at_their_rate(name, method, rtol):
    """Over 300 seeds ±2 stderr hold in about 95.4 % of cases, ±1 in 69 %, whatever the number of probes.

    Of means of normal numbers these are Student's t with 11 degrees of freedom at ±2.25 and ±1.13 spreads. Stopping
    favours small spreads, and where one eigenvalue is most of the trace the values of "hutchinson" are those of its
    χ², which is skewed: 91 % for that case. Counts are held to the 0.1 % points of the binomial for 95 % less 1 %
    for the stopping (or 90 %) and for 64 % to 74 %.
    """
    matrix = rotated(SPECTRA[name])
    exact = float(SPECTRA[name].sum())
    found = [trace(SymmetricOperator.of(matrix), method, rtol, seed=s, max_products=150) for s in range(RUNS)]
    z = torch.tensor([(one.value - exact) / one.stderr for one in found]).abs()
    one, two = (int((z <= width).sum()) for width in (1, 2))
    skewed = (name, method) == ("outliers", "hutchinson")
    assert two >= stats.binom.ppf(1e-3, RUNS, 0.90 if skewed else 0.94)
    assert stats.binom.ppf(1e-3, RUNS, 0.64) <= one <= stats.binom.ppf(1 - 1e-3, RUNS, 0.74)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["slow decay", "indefinite"])
def test_unbiased(name, method):
    """With a fixed number of samples the mean over seeds is the trace (four standard errors of 80 runs)."""
    matrix = rotated(SPECTRA[name])
    values = torch.tensor(
        [trace(SymmetricOperator.of(matrix), method, rtol=1e9, seed=s).value for s in range(80)],
        dtype=torch.float64,
    )
    assert abs(float(values.mean() - SPECTRA[name].sum())) <= 4 * float(values.std()) / math.sqrt(80)


def test_hutchinson_is_exact_for_a_diagonal():
    eigenvalues = torch.linspace(-1, 2, N, dtype=torch.float64)
    found = trace(SymmetricOperator.of(torch.diag(eigenvalues)), "hutchinson")
    # vᵀAv = tr A for signs v and a diagonal A.
    assert found.value == pytest.approx(float(eigenvalues.sum()), abs=N * EPS * 10)
    assert found.products == 12
    assert found.converged


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
def test_exact_for_a_low_rank(method):
    eigenvalues = torch.zeros(N, dtype=torch.float64)
    eigenvalues[:10] = torch.linspace(-3, 7, 10)
    found = trace(SymmetricOperator.of(rotated(eigenvalues)), method)
    # A sketch of 12 columns holds the range: the rest is rounding, magnified by the sketch's condition.
    assert found.value == pytest.approx(float(eigenvalues.sum()), abs=1e-9)
    assert found.stderr <= 1e-9
    assert found.converged


def test_a_sketch_pays_where_the_spectrum_decays():
    matrix = rotated(SPECTRA["fast decay"])
    plain, sketched, exchanged = (
        trace(SymmetricOperator.of(matrix), method, rtol=0.02, max_products=1000)
        for method in ("hutchinson", "hutch++", "xtrace")
    )
    assert plain.converged
    assert sketched.converged
    assert exchanged.converged
    assert 4 * sketched.products < plain.products
    assert exchanged.products < sketched.products


def test_on_a_network_the_default_needs_the_fewest_products():
    """Of four models; means over six seeds, at one in a hundred."""
    for name in MODELS:
        matrix = case(name).hessian
        mean = {
            method: sum(
                trace(SymmetricOperator.of(matrix), method, 0.01, seed=s, max_products=600).products
                for s in range(6)
            )
            for method in METHODS
        }
        assert mean["xtrace"] <= 0.9 * mean["hutch++"]
        assert mean["xtrace"] <= 0.4 * mean["hutchinson"]


def test_the_sketch_stops_growing_where_it_does_not_pay():
    """Where all eigenvalues are alike but a few, a plain probe for one product is as good as one for two."""
    eigenvalues = torch.cat([torch.tensor([50.0, 20, 10]), torch.linspace(0.9, 1.1, 997)]).double()
    counts = [
        trace(diagonal_free(eigenvalues, s), rtol=2e-4, seed=s, max_products=400).products for s in range(3)
    ]
    # With two products for each probe, growing to the end, no more than 200 probes would come of these.
    assert max(counts) <= 400
    operator = diagonal_free(eigenvalues, 0)
    grown = trace(operator, rtol=0.0, max_products=400)
    flat = trace(operator, "hutch++", rtol=0.0, max_products=400)
    assert grown.stderr <= 1.25 * flat.stderr


def diagonal_free(eigenvalues, seed):
    """An operator of these eigenvalues whose eigenvectors are not the axes: reflected once."""
    n = len(eigenvalues)
    v = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v /= v.norm()

    def reflected(x):
        return x - 2 * torch.outer(v, v @ x)

    return SymmetricOperator(lambda x: reflected(eigenvalues[:, None] * reflected(x)), n, dtype=torch.float64)


@pytest.mark.parametrize("sketch", [1, 3, 30])
def test_a_small_sketch_is_filled_up_with_plain_probes(sketch):
    matrix = rotated(SPECTRA["outliers"])
    found = trace(SymmetricOperator.of(matrix), rtol=0.0, sketch=sketch, max_products=90)
    assert found.products == 90
    assert abs(found.value - float(SPECTRA["outliers"].sum())) <= 4 * found.stderr


@pytest.mark.parametrize("method", METHODS)
def test_it_stops_where_the_tolerance_says(method):
    matrix = rotated(SPECTRA["slow decay"])
    tight = {"hutchinson": 0.02, "hutch++": 0.006, "xtrace": 0.006}[method]
    coarse, fine = (
        trace(SymmetricOperator.of(matrix), method, rtol=rtol, max_products=5000) for rtol in (0.5, tight)
    )
    assert coarse.products == FEWEST[method]
    assert fine.products > coarse.products
    assert fine.converged
    assert fine.stderr <= tight * abs(fine.value)
    # It did not go far beyond: half as many probes more than needed at the most, each worth more with a sketch.
    assert fine.stderr > tight * abs(fine.value) * 0.5


def test_products_are_limited_and_counted():
    limits = [
        ("hutchinson", 12),
        ("hutchinson", 33),
        ("hutch++", 36),
        ("hutch++", 61),
        ("xtrace", 24),
        ("xtrace", 62),
    ]
    for method, limit in limits:
        operator = SymmetricOperator.of(rotated(SPECTRA["indefinite"]))
        operator @ torch.ones(N, dtype=torch.float64)
        found = trace(operator, method, rtol=0.0, max_products=limit)
        assert found.products == limit
        assert operator.products == limit + 1
        assert not found.converged


@pytest.mark.parametrize("method", METHODS)
def test_a_trace_near_zero_stops_by_the_absolute_tolerance(method):
    eigenvalues = torch.linspace(-1, 1, N, dtype=torch.float64)
    found = trace(SymmetricOperator.of(rotated(eigenvalues)), method, atol=2.0, max_products=400)
    assert found.converged
    assert found.products < 100
    assert abs(found.value) <= 4 * found.stderr
    assert found.stderr <= 2
    relative = trace(SymmetricOperator.of(rotated(eigenvalues)), method, max_products=100)
    assert relative.products >= 99


@pytest.mark.parametrize(
    ("method", "n"), [("hutchinson", 12), ("hutch++", 36), ("hutch++", 1), ("xtrace", 24), ("xtrace", 1)]
)
def test_small_matrices_are_summed(method, n):
    matrix = rotated(torch.linspace(-1, 3, n, dtype=torch.float64))
    found = trace(SymmetricOperator.of(matrix), method)
    assert found.value == pytest.approx(float(matrix.diagonal().sum()), abs=100 * EPS * n)
    assert (found.stderr, found.products, found.converged) == (0.0, n, True)
    one_more = rotated(torch.linspace(-1, 3, FEWEST[method] + 1, dtype=torch.float64))
    assert trace(SymmetricOperator.of(one_more), method).stderr > 0


def test_zero():
    found = trace(SymmetricOperator.of(torch.zeros(N, N)))
    assert (found.value, found.stderr, found.converged) == (0.0, 0.0, True)


def test_float32():
    exact = float(SPECTRA["outliers"].sum())
    found = trace(SymmetricOperator.of(rotated(SPECTRA["outliers"]).float()))
    assert abs(found.value - exact) <= 4 * found.stderr + 1e-4


def test_the_same_seed_gives_the_same_number():
    operator = SymmetricOperator.of(rotated(SPECTRA["uniform"]))
    before = torch.random.get_rng_state()
    first, again, other = (trace(operator, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.value != other.value
    assert torch.equal(torch.random.get_rng_state(), before)


def test_text():
    found = trace(SymmetricOperator.of(rotated(SPECTRA["uniform"])))
    assert str(found).startswith("trace ")
    assert str(found).endswith(f" ({found.products} products)")


def test_bad_arguments():
    operator = SymmetricOperator.of(rotated(SPECTRA["uniform"]))
    bad = [
        ({"method": "hutch"}, "method must be 'xtrace' or 'hutch++' or 'hutchinson', got 'hutch'"),
        ({"rtol": -0.1}, "rtol must be finite and at least 0, got -0.1"),
        ({"rtol": float("nan")}, "rtol must be finite and at least 0, got nan"),
        ({"atol": -1.0}, "atol must be finite and at least 0, got -1.0"),
        ({"min_probes": 1}, "min_probes must be an integer of at least 2, got 1"),
        ({"sketch": 0}, "sketch must be an integer of at least 1, got 0"),
        ({"max_products": -3}, "max_products must be an integer of at least 1, got -3"),
        ({"max_products": 23}, "max_products must be at least 24 for xtrace with min_probes=12, got 23"),
        ({"max_products": 35, "method": "hutch++"}, "must be at least 36"),
        ({"max_products": 11, "method": "hutchinson"}, "must be at least 12"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            trace(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0
