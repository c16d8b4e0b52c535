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
RUNS = 200
EPS = torch.finfo(torch.float64).eps
SPECTRA = {
    "slow decay": torch.arange(1, N + 1, dtype=torch.float64) ** -1.0,
    "fast decay": torch.arange(1, N + 1, dtype=torch.float64) ** -1.5,
    "uniform": torch.linspace(0, 1, N, dtype=torch.float64),
    "indefinite": torch.linspace(-1, 1.5, N, dtype=torch.float64),
    "outliers": torch.cat([torch.tensor([50.0, 20, 10, 5, 4, 3, 2, 2]), torch.linspace(-0.2, 0.4, N - 8)]).double(),
}  # fmt: skip
FEWEST = {"hutchinson": 20, "hutch++": 20 + 2 * 12}


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("name", MODELS)
def test_models(name, method):
    known = case(name)
    exact = float(known.eigenvalues.sum())
    with hessian(known.objective) as operator:
        found = trace(operator, method, rtol=0.2, max_products=120)
        assert found.products == operator.products <= 120
    # Four standard errors of at least twenty samples: Student's t with 19 degrees is beyond in 0.08 % of cases.
    assert abs(found.value - exact) <= 4 * found.stderr
    assert found.converged == (found.stderr <= 0.2 * abs(found.value))
    assert found.method == method


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "hutch++") for name in SPECTRA if name != "uniform"),
        *((n, "hutchinson") for n in ("slow decay", "outliers")),
    ],
)
def test_error_bars_hold_at_their_rate(name, method):
    """Over 200 seeds, stopped at 5 or 10 % of the trace, ±2 stderr cover the trace in about 92 %, ±1 in about 64 %.

    A fixed number of 20 Gaussian samples would give Student's t with 19 degrees of freedom: 94 % and 67 %.
    Quadratic forms are skewed, and stopping favours small spreads. 88 % is where a binomial count of rate 94 %
    falls below in 0.1 % of cases; a true rate of 88 % or less would show.
    """
    matrix = rotated(SPECTRA[name])
    exact = float(SPECTRA[name].sum())
    rtol = 0.05 if method == "hutch++" else 0.1
    found = [trace(SymmetricOperator.of(matrix), method, rtol, seed=s, max_products=100) for s in range(RUNS)]
    z = torch.tensor([(one.value - exact) / one.stderr for one in found]).abs()
    one, two = (int((z <= width).sum()) for width in (1, 2))
    assert stats.binom.ppf(1e-3, RUNS, 2 * stats.t.cdf(2, 19) - 1) == 0.88 * RUNS
    assert two >= 0.88 * RUNS
    # The rates 62 % and 69 % bracket what the skew and the stop make of 67 %; each with its 0.1 % point.
    assert stats.binom.ppf(1e-3, RUNS, 0.62) <= one <= stats.binom.ppf(1 - 1e-3, RUNS, 0.69)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("name", ["slow decay", "indefinite"])
def test_unbiased(name, method):
    """With a fixed number of samples the mean over seeds is the trace (four standard errors of 80 runs)."""
    matrix = rotated(SPECTRA[name])
    values = torch.tensor(
        [trace(SymmetricOperator.of(matrix), method, rtol=math.inf, seed=s).value for s in range(80)],
        dtype=torch.float64,
    )
    assert abs(float(values.mean() - SPECTRA[name].sum())) <= 4 * float(values.std()) / math.sqrt(80)


def test_hutchinson_is_exact_for_a_diagonal():
    eigenvalues = torch.linspace(-1, 2, N, dtype=torch.float64)
    found = trace(SymmetricOperator.of(torch.diag(eigenvalues)), "hutchinson")
    # vᵀAv = tr A for signs v and a diagonal A.
    assert found.value == pytest.approx(float(eigenvalues.sum()), abs=N * EPS * 10)
    assert found.products == 20
    assert found.converged


def test_hutchpp_is_exact_for_a_low_rank():
    eigenvalues = torch.zeros(N, dtype=torch.float64)
    eigenvalues[:10] = torch.linspace(-3, 7, 10)
    found = trace(SymmetricOperator.of(rotated(eigenvalues)), "hutch++")
    # A sketch of 12 columns holds the range: the rest is rounding, magnified by the sketch's condition.
    assert found.value == pytest.approx(float(eigenvalues.sum()), abs=1e-9)
    assert found.stderr <= 1e-9


def test_hutchpp_needs_fewer_products_where_the_spectrum_decays():
    matrix = rotated(SPECTRA["fast decay"])
    plain, sketched = (
        trace(SymmetricOperator.of(matrix), method, rtol=0.02, max_products=1000)
        for method in ("hutchinson", "hutch++")
    )
    assert plain.converged
    assert sketched.converged
    assert 4 * sketched.products < plain.products


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_it_stops_where_the_tolerance_says(method):
    matrix, tight = rotated(SPECTRA["slow decay"]), {"hutchinson": 0.02, "hutch++": 0.006}[method]
    coarse, fine = (
        trace(SymmetricOperator.of(matrix), method, rtol=rtol, max_products=5000) for rtol in (0.5, tight)
    )
    assert coarse.products == FEWEST[method]
    assert fine.products > coarse.products
    assert fine.converged
    assert fine.stderr <= tight * abs(fine.value)
    # It stopped at the first chance: some products earlier the error, which goes as 1/√, was still larger.
    assert fine.stderr > tight * abs(fine.value) * 0.9


def test_products_are_limited_and_counted():
    for method, limit in (("hutchinson", 20), ("hutchinson", 33), ("hutch++", 44), ("hutch++", 61)):
        operator = SymmetricOperator.of(rotated(SPECTRA["indefinite"]))
        operator @ torch.ones(N, dtype=torch.float64)
        found = trace(operator, method, rtol=0.0, max_products=limit)
        assert found.products == limit
        assert operator.products == limit + 1
        assert not found.converged


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_a_trace_near_zero_stops_by_the_absolute_tolerance(method):
    eigenvalues = torch.linspace(-1, 1, N, dtype=torch.float64)
    found = trace(SymmetricOperator.of(rotated(eigenvalues)), method, atol=2.0, max_products=400)
    assert found.converged
    assert found.products < 100
    assert abs(found.value) <= 4 * found.stderr
    assert found.stderr <= 2
    relative = trace(SymmetricOperator.of(rotated(eigenvalues)), method, max_products=100)
    assert relative.products == 100


@pytest.mark.parametrize(("method", "n"), [("hutchinson", 20), ("hutch++", 44), ("hutch++", 1)])
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


def test_bad_arguments():
    operator = SymmetricOperator.of(rotated(SPECTRA["uniform"]))
    bad = [
        ({"method": "hutch"}, 'method must be "hutch++" or "hutchinson", got \'hutch\''),
        ({"rtol": -0.1}, "rtol must not be negative, got -0.1"),
        ({"rtol": float("nan")}, "rtol must not be negative, got nan"),
        ({"atol": -1.0}, "atol must not be negative, got -1.0"),
        ({"min_probes": 1}, "min_probes must be at least 2, got 1"),
        ({"sketch": 0}, "sketch must be at least 1, got 0"),
        ({"max_products": 43}, "must be at least 44, got 43"),
        ({"max_products": 19, "method": "hutchinson"}, "must be at least 20, got 19"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            trace(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0
