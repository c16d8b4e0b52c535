"""The memory that is promised: 2k + 20 vectors for eigenpairs, four for a density without re-orthogonalization.

Counted is every allocation of torch's CPU allocator from the call on, so the operator's product is one of the
vectors; the operator is a diagonal one that makes nothing else.
"""

from __future__ import annotations

import pytest
import torch
from benchmarks.memory import peak_bytes

from curvature.spectra import diagonal
from thalweg.curvature import eigenpairs, spectral_density

N = 50_000
# What is not a vector: some five matrices over the Krylov space of 2k + 18 dimensions.
SMALL = 5 * 28**2 * 8


def slow(dtype):
    """Eigenvalues dense at both ends, so that Lanczos restarts."""
    return torch.linspace(-1, 1, N, dtype=torch.float64).pow(3).to(dtype)


def test_the_meter_counts_temporaries():
    one = torch.zeros(N)

    def work():
        held = one + 1
        return (held * 2 + 1).sum()

    # `held`, the product and the sum of it and 1; the scalar and its alignment besides.
    assert 3 * N * 4 <= peak_bytes(work) <= 3 * N * 4 + 1024


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 5])
def test_eigenpairs(k, dtype):
    operator = diagonal(slow(dtype))
    peak = peak_bytes(lambda: eigenpairs(operator, k, "both", 1e-9, max_products=5 * k + 60))
    # It restarted: a first filling, and the verification, are 3k + 18 products.
    assert operator.products > 3 * k + 18
    assert peak <= (2 * k + 20) * N * dtype.itemsize + SMALL


@pytest.mark.parametrize("which", ["largest", "zero"])
def test_eigenpairs_with_copies_and_those_near_zero(which):
    """Further random vectors join, and restarts near zero rotate what waits as well."""
    spectrum = torch.cat([torch.tensor([3.0, 3.0, 3.0, 2.0]).double(), slow(torch.float64)[4:]])
    operator = diagonal(spectrum)
    peak = peak_bytes(lambda: eigenpairs(operator, 4, which, 1e-4, max_products=100))
    assert peak <= 28 * N * 8 + SMALL


@pytest.mark.parametrize("columns", [1, 5])
def test_eigenpairs_from_a_start(columns, tmp_path):
    """The start is not among them, and writing a checkpoint copies nothing."""
    start = torch.randn(N, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    operator, settings = diagonal(slow(torch.float64)), {"tol": 1e-9, "checkpoint": tmp_path / "state"}
    peak = peak_bytes(lambda: eigenpairs(operator, 5, start=start, max_products=60, **settings))
    assert peak <= 30 * N * 8 + SMALL
    resumed = peak_bytes(lambda: eigenpairs(operator, 5, max_products=90, **settings))
    assert resumed <= 30 * N * 8 + SMALL


def test_eigenpairs_whose_residuals_are_computed_anew():
    """Rounding of float32 fails the check at this tolerance."""
    operator = diagonal(slow(torch.float32))
    peak = peak_bytes(lambda: eigenpairs(operator, 5, tol=1e-7, max_products=60))
    assert operator.products == 60 + 5
    assert peak <= 30 * N * 4 + SMALL


def test_eigenpairs_of_an_exhausted_krylov_space():
    operator = diagonal(torch.zeros(N, dtype=torch.float64))
    peak = peak_bytes(lambda: eigenpairs(operator, 2))
    assert peak <= 24 * N * 8 + SMALL


def test_the_result_keeps_its_vectors_alone():
    operator = diagonal(slow(torch.float32))
    pairs = eigenpairs(operator, 3, max_products=60)
    assert pairs.vectors.untyped_storage().nbytes() == 3 * N * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_without_reorthogonalization(dtype):
    operator = diagonal(slow(dtype))
    peak = peak_bytes(lambda: spectral_density(operator, 2, 20, grid=16, reorthogonalize=False))
    assert peak <= 4 * N * dtype.itemsize + SMALL


def test_density_with_reorthogonalization():
    operator = diagonal(slow(torch.float32))
    peak = peak_bytes(lambda: spectral_density(operator, 2, 20, grid=16, reorthogonalize=True))
    assert peak <= (20 + 4) * N * 4 + SMALL
