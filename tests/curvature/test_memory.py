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
