"""K7: Hessians with positive eigenvalues alone are exponentially rare among random symmetric matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thalweg.curvature.random_matrix import probability_all_positive
from thalweg.errors import InvalidArgument

CLOSED = {1: 1 / 2, 2: (2 - math.sqrt(2)) / 4, 3: (math.pi - 2 * math.sqrt(2)) / (4 * math.pi)}


@pytest.mark.parametrize("dim", CLOSED)
def test_closed_forms(dim: int) -> None:
    assert probability_all_positive(dim) == pytest.approx(CLOSED[dim], rel=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
def test_k7_drawn_matrices(dim: int) -> None:
    draws = 200_000
    g = np.random.default_rng(dim).standard_normal((draws, dim, dim))
    # Positive definite where all leading minors are.
    a = g + g.transpose(0, 2, 1)
    positive = np.ones(draws, dtype=bool)
    for k in range(1, dim + 1):
        positive &= np.linalg.det(a[:, :k, :k]) > 0
    expected = probability_all_positive(dim)
    error = math.sqrt(expected * (1 - expected) / draws)
    assert abs(positive.mean() - expected) < 3.5 * error


def test_k7_falls_like_the_square_of_the_dimension() -> None:
    dims = [20, 40]
    exponents = [-math.log(probability_all_positive(n)) / n**2 for n in dims]
    # ln P = −(ln 3)/4·n² − O(n): the exponent comes down to its limit as the next order dies away.
    limit = math.log(3) / 4
    assert exponents[0] > exponents[1] > limit
    assert exponents[1] == pytest.approx(limit, rel=0.05)
    assert probability_all_positive(dims[1]) < 2.0 ** -dims[1]
    assert probability_all_positive(5, "asymptotic") == pytest.approx(3.0 ** (-25 / 4))


def test_bad_arguments_are_named() -> None:
    for arguments, name in (((0,), "dim"), ((201,), "asymptotic"), ((3, "guess"), "method")):
        with pytest.raises(InvalidArgument, match=name):
            probability_all_positive(*arguments)
