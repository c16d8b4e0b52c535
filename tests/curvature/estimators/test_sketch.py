"""The sketch's basis and small matrices against dense ones."""

from __future__ import annotations

import pytest
import torch

from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator
from thalweg.curvature.estimators.sketch import Sketch
from thalweg.curvature.random_vectors import generator

N = 60
EPS = torch.finfo(torch.float64).eps
MATRIX = rotated(torch.linspace(-2, 3, N, dtype=torch.float64))


def grown(matrix, *counts, images=True):
    sketch = Sketch(SymmetricOperator.of(matrix), generator(1), images=images)
    for count in counts:
        sketch.grow(count)
    return sketch


def test_its_matrices():
    sketch = grown(MATRIX, 11, 1, 8)
    q, image, signs = sketch.rows(slice(None))
    assert sketch.columns == 20
    assert sketch.operator.products == 40
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    tight = {"rtol": 0, "atol": 1e3 * EPS}
    torch.testing.assert_close(q.T @ q, torch.eye(20, dtype=torch.float64), **tight)
    # Products with signs are √n times as large.
    loose = {"rtol": 0, "atol": 1e4 * EPS}
    torch.testing.assert_close(q @ sketch.coefficients, MATRIX @ signs, **loose)
    torch.testing.assert_close(image, MATRIX @ q, **tight)
    torch.testing.assert_close(sketch.projected, q.T @ MATRIX @ q, **tight)
    torch.testing.assert_close(sketch.inside, q.T @ signs, **loose)
    torch.testing.assert_close(sketch.gram, image.T @ image, **loose)
    assert torch.equal(sketch.coefficients, sketch.coefficients.triu())


def test_the_way_it_grew_does_not_matter():
    """Up to the random signs' order: the same stream of single bytes gives other vectors in other blocks."""
    at_once, by_ones = grown(MATRIX, 8), grown(MATRIX, 8)
    assert torch.equal(at_once.projected, by_ones.projected)


@pytest.mark.parametrize("rank", [0, 1, 8, 13])
def test_it_ends_with_the_range(rank):
    eigenvalues = torch.zeros(N, dtype=torch.float64)
    eigenvalues[:rank] = torch.linspace(-3, 7, rank, dtype=torch.float64) if rank > 1 else 2.0
    # Two dyads at most share signs; a matrix of exact zeros has a range of no dimension.
    sketch = grown(rotated(eigenvalues), 30)
    assert sketch.exhausted
    assert sketch.columns >= rank
    whole = float(sketch.projected.trace()) if sketch.columns else 0.0
    assert whole == pytest.approx(float(eigenvalues.sum()), abs=1e-9)


def test_it_ends_with_the_space():
    sketch = grown(MATRIX, N + 5)
    assert sketch.exhausted
    assert sketch.columns == N
    assert float(sketch.projected.trace()) == pytest.approx(float(MATRIX.trace()), abs=1e-9)


def test_deflated_vectors_are_off_the_range():
    sketch = grown(MATRIX, 10, images=False)
    v = torch.randn(N, 3, dtype=torch.float64)
    found = sketch.deflate(v)
    assert found is v
    assert float(sketch.within(v).abs().max()) <= 1e3 * EPS


def test_a_fast_decay_keeps_the_basis_orthonormal():
    """Over 17 orders of magnitude: rounding is all that later images hold off the range."""
    operator = diagonal(torch.logspace(0, -17, N, dtype=torch.float64))
    sketch = Sketch(operator, generator(0), images=True)
    sketch.grow(N)
    q = sketch.rows(slice(None))[0]
    torch.testing.assert_close(
        q.T @ q, torch.eye(sketch.columns, dtype=torch.float64), rtol=0, atol=1e3 * EPS
    )
