"""Log-determinants against dense ones, bounds against exact quadratic forms, and what is refused."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from curvature.models import case
from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator, ggn, hessian
from thalweg.curvature.estimators.log_determinant import log_determinant
from thalweg.errors import InvalidArgument

N = 120
SPECTRA = {
    "wide": (torch.linspace(-1, 3, N, dtype=torch.float64), 1.5),
    "decaying": (torch.arange(1, N + 1, dtype=torch.float64) ** -1.5, 1e-2),
    "outliers": (torch.cat([torch.tensor([50.0, 20, 10]), torch.linspace(0, 0.5, N - 3)]).double(), 0.2),
}


@pytest.mark.parametrize(
    ("name", "lower", "runs"), [("wide", True, 100), ("decaying", True, 300), ("outliers", None, 300)]
)
def test_error_bars_hold_at_their_rate(name, lower, runs):
    """Over the seeds 2·stderr + quadrature hold in 95 % of cases, to the 0.1 % point of the binomial for 93 %."""
    eigenvalues, shift = SPECTRA[name]
    matrix = rotated(eigenvalues)
    exact = float((eigenvalues + shift).log().sum())
    known = float(eigenvalues.min()) - 1e-9 if lower else None
    found = [
        log_determinant(
            SymmetricOperator.of(matrix), shift, 0.1, lower=known, steps=6, max_products=100, seed=s
        )
        for s in range(runs)
    ]
    held = sum(abs(one.value - exact) <= 2 * one.stderr + one.quadrature for one in found)
    assert held >= stats.binom.ppf(1e-3, runs, 0.93)
    for one in found:
        if one.converged:
            assert one.stderr + one.quadrature <= 0.1 * abs(one.value)
        # An interval for each value would be no evidence.
        assert one.stderr <= 0.1 * abs(exact) + 1


def test_without_sampling_error_the_bounds_hold():
    """With random signs and a diagonal matrix vᵀf(A)v is tr f(A): what is left is the quadrature's error."""
    eigenvalues = torch.logspace(-3, 1, 500, dtype=torch.float64)
    exact = float(eigenvalues.log().sum())
    errors = []
    for steps in (5, 10, 20, 40):
        found = log_determinant(
            diagonal(eigenvalues),
            0.0,
            rtol=0.0,
            lower=1e-3,
            steps=steps,
            max_products=2 * steps,
            min_probes=2,
        )
        assert found.stderr <= 1e-9
        assert abs(found.value - exact) <= found.quadrature + 1e-9
        errors.append(found.quadrature)
        # The middle of the bounds is not right by chance.
        assert abs(found.value - exact) >= 1e-3 * found.quadrature or steps == 40
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_later_probes_take_no_more_steps_than_the_first_needed():
    eigenvalues = torch.linspace(1, 3, 300, dtype=torch.float64)
    operator = diagonal(eigenvalues)
    found = log_determinant(operator, rtol=0.01, lower=1.0, steps=60)
    assert found.converged
    assert found.products == operator.products < 60 + 7 * 15


def test_a_gauss_newton_matrix():
    known = case("mlp")
    with ggn(known.objective) as operator:
        dense = operator.dense()
        exact = float(torch.linalg.slogdet(dense + 0.01 * torch.eye(len(dense)))[1])
        found = log_determinant(operator, 0.01, 0.02, lower=-1e-12)
    assert abs(found.value - exact) <= 4 * found.stderr + found.quadrature
    assert found.converged


@pytest.mark.parametrize("n", [1, 50, 200])
def test_small_matrices_are_computed(n):
    matrix = rotated(torch.linspace(0.5, 3, n, dtype=torch.float64))
    found = log_determinant(SymmetricOperator.of(matrix), 0.25)
    exact = float(torch.linalg.slogdet(matrix + 0.25 * torch.eye(n))[1])
    assert found.value == pytest.approx(exact, rel=1e-12)
    assert (found.stderr, found.quadrature, found.products) == (0.0, 0.0, n)


def test_few_levels_exhaust_the_krylov_space():
    operator = diagonal(torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64).repeat(100))
    found = log_determinant(operator, lower=0.0, shift=0.1)
    exact = 100 * float(torch.tensor([0.6, 2.1, 7.1], dtype=torch.float64).log().sum())
    # Rounding keeps a fourth step going, whose weight is nothing.
    assert abs(found.value - exact) <= found.quadrature + 1e-9
    assert found.quadrature <= 1e-4


@pytest.mark.parametrize("n", [100, 300])
def test_what_is_not_positive_definite_is_refused(n):
    matrix = SymmetricOperator.of(rotated(torch.linspace(-1, 3, n, dtype=torch.float64)))
    with pytest.raises(
        InvalidArgument, match=r"not positive definite: A has an eigenvalue of -0\.99\d*|-1 or below"
    ):
        log_determinant(matrix, 0.5)
    with pytest.raises(InvalidArgument, match="cannot be told from a singular matrix"):
        log_determinant(matrix, 1.0)
    singular = SymmetricOperator.of(rotated(torch.linspace(0, 3, n, dtype=torch.float64)))
    with pytest.raises(InvalidArgument, match=r"not positive definite|cannot be told from a singular"):
        log_determinant(singular)
    with pytest.raises(InvalidArgument, match="not positive definite"):
        log_determinant(SymmetricOperator.of(torch.zeros(n, n, dtype=torch.float64)))


def test_a_wrong_lower_bound_is_found_out():
    operator = SymmetricOperator.of(rotated(torch.linspace(-1, 3, 300, dtype=torch.float64)))
    with pytest.raises(
        InvalidArgument, match=r"lower=0 is above an eigenvalue: the smallest is at most -(1|0\.99)"
    ):
        log_determinant(operator, 2.0, lower=0.0)


def test_a_saddle_is_refused():
    with (
        hessian(case("mlp").objective) as operator,
        pytest.raises(InvalidArgument, match="positive definite"),
    ):
        log_determinant(operator, 1e-3)


def test_text_and_bad_arguments():
    operator = diagonal(torch.linspace(1, 3, 300, dtype=torch.float64))
    for arguments, message in (
        ({"rtol": -1}, "rtol must be finite and at least 0, got -1"),
        ({"steps": 1}, "steps must be an integer of at least 2, got 1"),
        ({"max_products": 799}, "max_products must be at least 800 for log_determinant with steps=100"),
        ({"shift": float("nan")}, "shift must be finite, got nan"),
        ({"lower": float("-inf")}, "lower must be finite, got -inf"),
        ({"lower": -1.0, "shift": 0.5}, "not positive definite"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            log_determinant(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0
    assert str(log_determinant(operator, 0.5, lower=1.0)).startswith("log-determinant of A + 0.5·I 2")
