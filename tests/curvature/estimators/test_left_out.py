"""Leave-one-out values and their covariances against the definitions, with a projector for each probe."""

from __future__ import annotations

import itertools

import pytest
import torch

from curvature.spectra import rotated
from thalweg.curvature import SymmetricOperator
from thalweg.curvature.estimators import left_out
from thalweg.curvature.estimators.diagonal_values import _Rows
from thalweg.curvature.estimators.left_out import Form, shared, values
from thalweg.curvature.estimators.sketch import Sketch
from thalweg.curvature.random_vectors import generator

N, M = 50, 9
IDENTITY = torch.eye(N, dtype=torch.float64)
SLOW = torch.arange(1, N + 1, dtype=torch.float64) ** -1.0
SPECTRA = {
    "indefinite": torch.linspace(-2, 3, N, dtype=torch.float64),
    "slow decay": SLOW,
    "fast decay": torch.logspace(0, -9, N, dtype=torch.float64),
    # Without two of nine probes one of eight outliers is lost.
    "outliers": torch.cat([torch.arange(8, 0, -1.0), torch.full((N - 8,), 1e-6)]).double(),
}


MATRIX = rotated(SLOW)


def sketched(matrix):
    sketch = Sketch(SymmetricOperator.of(matrix), generator(3), images=True)
    sketch.grow(M)
    return sketch, sketch.rows(slice(None))[2]


def projector(matrix, signs, kept):
    basis = torch.linalg.qr(matrix @ signs[:, kept]).Q
    return basis @ basis.T


def trace_value(matrix, form, signs, probe, *gone):
    p = projector(matrix, signs, [k for k in range(M) if k not in (probe, *gone)])
    rest = signs[:, probe] - p @ signs[:, probe]
    return torch.trace(p @ form @ p) + rest @ (form @ rest)


def diagonal_value(matrix, signs, probe, *gone):
    p = projector(matrix, signs, [k for k in range(M) if k not in (probe, *gone)])
    off = IDENTITY - p
    return (matrix - off @ matrix @ off).diagonal() + signs[:, probe] * (off @ matrix @ off @ signs[:, probe])


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("power", [1, 2])
def test_traces(name, power):
    matrix = rotated(SPECTRA[name])
    sketch, signs = sketched(matrix)
    squared = matrix @ matrix
    h, r = sketch.projected, sketch.coefficients
    form = (
        Form(h, r, (sketch.inside * r).sum(0)) if power == 1 else Form(sketch.gram, h @ r, r.square().sum(0))
    )
    of = matrix if power == 1 else squared
    exact = torch.stack([trace_value(matrix, of, signs, i) for i in range(M)])
    found = values(sketch, form)
    scale = float(of.trace().abs()) + float(exact.abs().max())
    # The basis of the rest is known to eps over the smallest singular value of the images, at worst.
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-8 * scale)
    pairs = torch.tensor(0.0, dtype=torch.float64)
    for i, j in itertools.permutations(range(M), 2):
        pairs += (exact[i] - trace_value(matrix, of, signs, i, j)) * (
            exact[j] - trace_value(matrix, of, signs, j, i)
        )
    assert float(shared(sketch, form, found)) == pytest.approx(float(pairs), rel=1e-5, abs=1e-8 * scale**2)


@pytest.mark.parametrize("name", SPECTRA)
def test_diagonals(name):
    matrix = rotated(SPECTRA[name])
    sketch, signs = sketched(matrix)
    rows = _Rows(sketch, slice(None))
    exact = torch.stack([diagonal_value(matrix, signs, i) for i in range(M)], 1)
    found = rows.values()
    scale = float(matrix.diagonal().abs().max())
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-8 * scale)
    pairs = torch.tensor(0.0, dtype=torch.float64)
    for i, j in itertools.permutations(range(M), 2):
        first = exact[:, i] - diagonal_value(matrix, signs, i, j)
        pairs += (first * (exact[:, j] - diagonal_value(matrix, signs, j, i))).sum()
    assert rows.shared(found) == pytest.approx(float(pairs), rel=1e-5, abs=1e-8 * N * scale**2)


def test_some_pairs_stand_for_all(monkeypatch):
    """Looked at one by one, the pairs of the first k probes with all others add up to those of all."""
    sketch, signs = sketched(MATRIX)
    form = Form(sketch.projected, sketch.coefficients, (sketch.inside * sketch.coefficients).sum(0))
    found = values(sketch, form)
    exact = torch.zeros(M, M, dtype=torch.float64)
    for i, j in itertools.permutations(range(M), 2):
        without_j, without_i = (trace_value(MATRIX, MATRIX, signs, *pair) for pair in ((i, j), (j, i)))
        exact[i, j] = (found[i] - without_j) * (found[j] - without_i)
    for count in (1, 4, M):
        monkeypatch.setattr(left_out, "PAIRED", count)
        part = float(exact[:count].sum()) * M / count
        assert float(shared(sketch, form, found)) == pytest.approx(part, rel=1e-6)


def test_spread_and_covariance_make_the_variance_of_the_mean():
    """Over 600 draws of 12 probes, where the spread alone gives half of it.

    The variance of 600 means is known to √(2/600) = 6 %, its estimate to less: 20 % are three standard deviations.
    """
    matrix = rotated(SLOW)
    means, spreads, both = [], [], []
    for seed in range(600):
        sketch = Sketch(SymmetricOperator.of(matrix), generator(seed), images=False)
        sketch.grow(12)
        form = Form(sketch.projected, sketch.coefficients, (sketch.inside * sketch.coefficients).sum(0))
        found = values(sketch, form)
        means.append(found.mean())
        spreads.append(found.var() / 12)
        both.append(found.var() / 12 + shared(sketch, form, found) / 12 / 11)
    variance = float((torch.stack(means) - matrix.trace()).square().mean())
    assert float(torch.stack(both).mean()) == pytest.approx(variance, rel=0.2)
    assert float(torch.stack(spreads).mean()) < 0.65 * variance
