"""Eigenvalues that repeat or nearly repeat, and how often one is missed without being said."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom

from curvature.spectra import diagonal, rotated
from curvature.spectrum.test_eigenpairs import check, wanted
from thalweg.curvature import SymmetricOperator, eigenpairs

N = 300


def planted(*values):
    return torch.cat([torch.tensor(values), torch.linspace(-1, 1, N - len(values))]).double()


SPECTRA = {
    "pair": planted(5.0, 5.0, 4.0),
    "pairs": planted(6.0, 6.0, 5.0, 5.0, 4.0, 4.0),
    "triple and pair": planted(5.0, 5.0, 5.0, 4.0, 4.0, 3.0),
    "nine": planted(*[5.0] * 9, 3.0),
    "gaps of 1e-6": torch.cat(
        [5 - 1e-6 * torch.arange(4).double(), torch.tensor([4.0, 4 - 1e-6, 3]).double(), planted()[7:]]
    ),
    # Logistic regression on ten classes at zero weights: each eigenvalue of the inputs' covariance nine times.
    "logistic": torch.cat([torch.tensor([8.0, 3.0, 1.0]).repeat_interleave(9), torch.zeros(N - 27)]).double(),
    "pair at the bottom": planted(5.0, -4.0, -4.0, -3.0),
}


@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-6])
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("which", ["largest", "both", "magnitude"])
def test_copies_are_recovered(name, which, tol):
    exact = SPECTRA[name]
    matrix = rotated(exact)
    k, norm = 6, float(exact.abs().max())
    pairs = eigenpairs(SymmetricOperator.of(matrix), k, which, tol, seed=1)
    check(pairs, exact, matrix, which)
    assert bool(pairs.converged.all())
    # Each value within the residuals of the one of its rank, by more than tol only where that was said.
    best = wanted(exact, k, which)
    # By magnitude those of either sign are as good.
    off = float(
        (pairs.values.abs() - best.abs() if which == "magnitude" else pairs.values - best).abs().max()
    )
    assert off <= max(pairs.missed, tol * norm) + float(pairs.residuals.norm())
    if which == "largest":
        assert off <= 2 * tol * norm


def test_gaps_of_a_millionth_are_told_apart_when_asked():
    exact = SPECTRA["gaps of 1e-6"]
    pairs = eigenpairs(SymmetricOperator.of(rotated(exact)), 7, tol=1e-8)
    assert float((pairs.values - wanted(exact, 7, "largest")).abs().max()) <= 1e-8 * 5


def test_all_of_a_multiple_of_the_identity():
    pairs = eigenpairs(diagonal(torch.full((N,), -2.0, dtype=torch.float64)), 5)
    assert float((pairs.values + 2).abs().max()) <= 1e-13
    assert pairs.missed <= 2e-3
    assert pairs.products <= 5 + 2


@pytest.mark.parametrize(
    ("exact", "which", "k", "tol"),
    [
        (planted(5.0, 5.0, 5.0, 4.0, 3.0)[:100], "largest", 3, 1e-2),
        # A bottom that is lost beside the tolerance for as long as the top is not there.
        (
            torch.cat([torch.tensor([10.0, 5.0, -0.3]), 0.02 * torch.linspace(-1, 1, N - 3)]).double(),
            "both",
            4,
            1e-2,
        ),
    ],
)
def test_missing_one_without_saying_so_is_as_rare_as_stated(exact, which, k, tol):
    """Over 300 seeds the j-th value is within `missed` and the residuals of the j-th eigenvalue, 99 % of times."""
    operator, best = diagonal(exact), wanted(exact, k, which)
    stated = wrong = 0
    for seed in range(300):
        pairs = eigenpairs(operator, k, which, tol, seed=seed)
        if math.isfinite(pairs.missed):
            stated += 1
            off = float((pairs.values - best).abs().max())
            wrong += off > pairs.missed + float(pairs.residuals.norm())
    assert stated >= 290
    # More than this would be seen once in a thousand times at a rate of 1 %.
    assert wrong <= binom.ppf(0.999, stated, 0.01)


def test_what_was_not_established_is_not_stated():
    """Dense eigenvalues at the end: residuals converge long before others can be ruled out."""
    exact = torch.linspace(-1, 1, 2000).double().pow(3)
    pairs = eigenpairs(diagonal(exact), 2, "largest", 1e-2)
    assert bool(pairs.converged.all())
    known = eigenpairs(diagonal(exact), 2, "largest", 1e-2, max_products=10)
    assert math.isinf(known.missed)
    assert math.isinf(eigenpairs(diagonal(planted(5.0, 4.0, 3.0)), 3, complete=False).missed)
    # The start alone tells of a single one, of which no copy could be better.
    assert math.isfinite(eigenpairs(diagonal(planted(5.0, 4.0, 3.0)), 1, complete=False).missed)
