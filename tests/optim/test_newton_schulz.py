"""Newton–Schulz against the singular value decomposition and torch's own iteration."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim._muon import _zeropower_via_newtonschulz as torchs

from thalweg.errors import ShapeMismatch
from thalweg.optim import newton_schulz
from thalweg.optim.newton_schulz import COEFFICIENTS, FEW_PRODUCTS, iteration_dtype, orthogonalize

SHAPES = [(4, 4), (3, 7), (9, 2), (1, 5), (5, 1), (16, 24)]


def matrix(seed, rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed, size):
    return torch.linalg.qr(matrix(seed, size, size))[0]


def of_singular_values(values, rows, columns, seed=0):
    """A matrix with these singular values."""
    u, v = rotation(seed, rows), rotation(seed + 1, columns)
    count = len(values)
    return u[:, :count] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ v[:, :count].T


def quintic(sigma, steps=5):
    """What the iteration does to one singular value."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return sigma


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_each_singular_value_follows_the_quintic_and_the_singular_vectors_stay(rows, columns):
    m = matrix(0, rows, columns)
    u, sigma, vt = np.linalg.svd(m.numpy(), full_matrices=False)
    expected = (u * quintic(sigma / np.linalg.norm(sigma))) @ vt
    # About 20 products of matrices of norm near 1, each rounding at 1e-16 times the size.
    np.testing.assert_allclose(orthogonalize(m, dtype=torch.float64), expected, atol=1e-12)


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=8),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_singular_values_end_near_one(values, more_rows, more_columns, seed):
    # The smallest is above 0.01/√8 = 3.5e-3 of the norm, as far down as five steps reach.
    m = of_singular_values(values, len(values) + more_rows, len(values) + more_columns, seed)
    found = torch.linalg.svdvals(orthogonalize(m, dtype=torch.float64))[: len(values)]
    assert float(found.min()) > 0.65
    assert float(found.max()) < 1.21


@given(st.sampled_from(SHAPES), st.floats(1e-3, 1e6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_scale_of_the_gradient_does_not_matter(shape, factor, seed):
    m = matrix(seed, *shape)
    once, scaled = (orthogonalize(f * m, dtype=torch.float64) for f in (1.0, factor))
    # The norm is rounded differently, by 1e-16; the slope at 0 multiplies that by up to 3.4445⁵ = 485.
    torch.testing.assert_close(scaled, once, rtol=0, atol=1e-12)


@given(st.sampled_from(SHAPES), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rotations_of_either_side_commute_with_it(shape, seed):
    m, u, v = matrix(seed, *shape), rotation(seed + 1, shape[0]), rotation(seed + 2, shape[1])
    rotated = orthogonalize(u @ m @ v, dtype=torch.float64)
    # As above: rounding of the rotations at 1e-16 times up to 24, times 485.
    torch.testing.assert_close(rotated, u @ orthogonalize(m, dtype=torch.float64) @ v, rtol=0, atol=1e-11)


@given(st.sampled_from(SHAPES), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_transposing_commutes_with_it(shape, seed):
    m = matrix(seed, *shape)
    straight = orthogonalize(m, dtype=torch.float64)
    torch.testing.assert_close(orthogonalize(m.T, dtype=torch.float64).T, straight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_a_batch_is_its_matrices_one_by_one(dtype, batch):
    whole = torch.randn(*batch, 5, 8, generator=torch.Generator().manual_seed(3))
    together = orthogonalize(whole, dtype=dtype)
    assert together.shape == whole.shape
    assert together.dtype == dtype
    for one, m in zip(together.view(-1, 5, 8), whole.view(-1, 5, 8), strict=True):
        torch.testing.assert_close(one, orthogonalize(m, dtype=dtype))


@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, (32, 64), (64, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_small_matrices_are_torchs_to_the_last_bit(rows, columns, dtype):
    m = matrix(5, rows, columns).to(dtype)
    # torch's overwrites a bfloat16 argument.
    torch.testing.assert_close(orthogonalize(m), torchs(m.clone(), COEFFICIENTS, 5, 1e-7), rtol=0, atol=0)


def test_large_ones_are_in_float32_only_where_bfloat16_is_emulated(monkeypatch):
    small, large = torch.empty(32, 64), torch.empty(128, 512)
    assert 32 * 32 * 64 <= FEW_PRODUCTS < 128 * 128 * 512
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(newton_schulz, "multiplies_bfloat16", lambda fast=fast: fast)
        assert iteration_dtype(small) == torch.bfloat16
        assert iteration_dtype(large) == expected
        assert iteration_dtype(large.T) == expected
        assert iteration_dtype(large.to("meta")) == torch.bfloat16


def test_float32_is_as_near_to_the_exact_iteration_as_its_digits_allow():
    m = matrix(6, 128, 256)
    exact = orthogonalize(m, dtype=torch.float64)
    errors = [
        float((orthogonalize(m, dtype=t).double() - exact).norm()) for t in (torch.float32, torch.bfloat16)
    ]
    # 2⁻²⁴ against 2⁻⁹ a rounding.
    assert errors[0] < 1e-3 * errors[1]


def test_the_argument_is_left_alone_and_zeros_stay_zeros():
    for m in (matrix(7, 4, 6), matrix(7, 4, 6).bfloat16(), torch.zeros(3, 4)):
        before = m.clone()
        made = orthogonalize(m)
        assert torch.equal(m, before)
        assert bool(made.isfinite().all())
    assert not bool(made.any())


def test_vectors_are_refused():
    with pytest.raises(ShapeMismatch, match=r"at least 2 axes, got shape \(4,\)"):
        orthogonalize(torch.zeros(4))
