"""Frobenius norms against dense ones, and error bars against how often they hold."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from curvature.models import MODELS, case
from curvature.spectra import rotated
from thalweg.curvature import SymmetricOperator, hessian
from thalweg.curvature.estimators.frobenius import frobenius_norm
from thalweg.errors import InvalidArgument

N = 120
RUNS = 300
SPECTRA = {
    "slow decay": torch.arange(1, N + 1, dtype=torch.float64) ** -1.0,
    "indefinite": torch.linspace(-1, 1.5, N, dtype=torch.float64),
    "outliers": torch.cat([torch.tensor([50.0, 20, 10, 5]), torch.linspace(-0.2, 0.4, N - 4)]).double(),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    known = case(name)
    with hessian(known.objective) as operator:
        found = frobenius_norm(operator)
        assert found.products == operator.products <= 60
    assert found.converged
    # Nearly always within four standard errors, as the mean of few values.
    assert abs(found.value - float(known.hessian.norm())) <= 4 * found.stderr


@pytest.mark.parametrize(
    ("name", "rtol", "sketch"),
    [
        ("slow decay", 0.01, None),
        ("indefinite", 0.02, None),
        ("outliers", 0.05, None),
        ("indefinite", 0.02, 0),
    ],
)
def test_error_bars_hold_at_their_rate(name, rtol, sketch):
    """Over 300 seeds ±2 stderr hold in about 95 % of cases, to the 0.1 % point of the binomial for 93 %."""
    matrix = rotated(SPECTRA[name])
    exact = float(SPECTRA[name].norm())
    found = [frobenius_norm(SymmetricOperator.of(matrix), rtol, sketch=sketch, seed=s) for s in range(RUNS)]
    z = torch.tensor([(one.value - exact) / one.stderr for one in found]).abs()
    assert int((z <= 2).sum()) >= stats.binom.ppf(1e-3, RUNS, 0.93)
    assert int((z <= 1).sum()) <= stats.binom.ppf(1 - 1e-3, RUNS, 0.76)
    assert all(one.converged for one in found)


def test_a_sketch_removes_what_outliers_spoil():
    """The norm of the images alone varies by its own size where one eigenvalue is most of the norm."""
    matrix = rotated(SPECTRA["outliers"])
    plain, sketched = (
        frobenius_norm(SymmetricOperator.of(matrix), rtol=0.0, max_products=40, sketch=sketch)
        for sketch in (0, None)
    )
    assert 100 * sketched.stderr < plain.stderr


def test_exact_cases():
    eigenvalues = torch.zeros(N, dtype=torch.float64)
    eigenvalues[:8] = torch.linspace(-3, 7, 8, dtype=torch.float64)
    found = frobenius_norm(SymmetricOperator.of(rotated(eigenvalues)))
    assert found.value == pytest.approx(float(eigenvalues.norm()), abs=1e-9)
    zero = frobenius_norm(SymmetricOperator.of(torch.zeros(N, N)))
    assert (zero.value, zero.stderr, zero.converged) == (0.0, 0.0, True)
    for n in (1, 24):
        matrix = rotated(torch.linspace(-1, 3, n, dtype=torch.float64))
        found = frobenius_norm(SymmetricOperator.of(matrix))
        assert found.value == pytest.approx(float(matrix.norm()), rel=1e-14)
        assert (found.stderr, found.products) == (0.0, n)


def test_text_and_bad_arguments():
    operator = SymmetricOperator.of(rotated(SPECTRA["indefinite"]))
    for arguments, message in (
        ({"rtol": -1}, "rtol must be finite and at least 0, got -1"),
        ({"sketch": -1}, "sketch must be an integer of at least 0, got -1"),
        (
            {"max_products": 23},
            "max_products must be at least 24 for the Frobenius norm with min_probes=12, got 23",
        ),
    ):
        with pytest.raises(InvalidArgument) as caught:
            frobenius_norm(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0
    assert str(frobenius_norm(operator)).startswith("Frobenius norm 8.")
