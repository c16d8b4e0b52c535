"""Interior eigenpairs: those nearest zero."""

from __future__ import annotations

import pytest
import torch

from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator, eigenpairs

N = 300


def around(*values, gap=0.3):
    """The values given, and others on both sides of a gap around zero."""
    half = (N - len(values)) // 2
    high = torch.linspace(gap, 4, N - len(values) - half)
    return torch.cat([torch.tensor(values), high, torch.linspace(-2, -gap, half)]).double()


def nearest(exact, k):
    return exact[exact.abs().argsort()[:k]]


@pytest.mark.parametrize(
    ("exact", "k"),
    [
        (around(0.0), 1),
        (around(1e-3), 1),
        (around(-0.05, 0.02, 0.03), 3),
        (around(0.1, -0.1, gap=0.5), 2),
        (torch.linspace(0.5, 5, N).double(), 2),
        (-torch.linspace(0.5, 5, N).double(), 2),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interior_pairs(exact, k, dtype):
    tol = 1e-5 if dtype == torch.float64 else 1e-4
    matrix = rotated(exact).to(dtype)
    pairs = eigenpairs(SymmetricOperator.of(matrix), k, "zero", tol, max_products=1000)
    assert bool(pairs.converged.all())
    true = (matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    rounding = 10 * N**0.5 * torch.finfo(dtype).eps * 5
    # What a product with a combination of the vectors differs by is counted on top.
    assert bool((true <= pairs.residuals + rounding).all())
    assert bool((pairs.residuals <= tol * 5).all())
    assert bool((pairs.values.abs().diff() >= 0).all())
    gram = pairs.vectors.T @ pairs.vectors
    assert float((gram - torch.eye(k, dtype=dtype)).abs().max()) <= 10 * N**0.5 * torch.finfo(dtype).eps
    off = (pairs.values.double().abs() - nearest(exact, k).abs()).abs()
    assert float(off.max()) <= float(pairs.residuals.max()) + rounding


def test_a_large_null_space():
    exact = torch.cat([torch.zeros(N // 2), torch.linspace(0.5, 4, N - N // 2)]).double()
    pairs = eigenpairs(diagonal(exact), 1, "zero", 1e-6)
    assert abs(float(pairs.values[0])) <= 1e-6 * 4
    assert bool(pairs.converged.all())


def test_copies_near_zero_that_do_not_show_are_accounted_for():
    exact = around(0.01, 0.01, -0.03)
    pairs = eigenpairs(diagonal(exact), 3, "zero", 1e-3, max_products=1500)
    off = (pairs.values.abs() - nearest(exact, 3).abs()).abs().max()
    assert float(off) <= pairs.missed + float(pairs.residuals.norm())


def test_pairs_that_are_not_there_yet_are_said_not_to_be():
    exact = torch.linspace(-1, 1, 2 * N).double()
    pairs = eigenpairs(diagonal(exact), 3, "zero", 1e-8, max_products=100)
    assert not bool(pairs.converged.all())
    assert pairs.products <= 100
    true = (exact[:, None] * pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    torch.testing.assert_close(pairs.residuals, true, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 24])
def test_small_dimensions(n):
    exact = torch.linspace(-1, 2, n).double() if n > 1 else torch.tensor([-3.0]).double()
    k = min(n, 3)
    pairs = eigenpairs(SymmetricOperator.of(rotated(exact)), k, "zero")
    assert float((pairs.values.abs() - nearest(exact, k).abs()).abs().max()) <= 1e-12
