"""The ascent as a pure function: its length, its invariances, its columns, its range."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.optim.sharpness.ascent import (
    asam_ascent,
    asam_ascent_columns,
    sam_ascent,
    sam_ascent_columns,
    total_norm,
)

sizes = st.lists(st.sampled_from([(1,), (3,), (2, 4), (5, 1, 2)]), min_size=1, max_size=4)
seeds = st.integers(0, 2**32 - 1)


def drawn(shapes, seed, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def flat(tensors):
    return np.concatenate([t.double().numpy().ravel() for t in tensors])


@given(sizes, seeds, st.floats(1e-3, 10), st.floats(1e-8, 1e8))
@settings(max_examples=40, deadline=None)
def test_the_ascent_has_length_rho_and_the_direction_of_the_whole_gradient(shapes, seed, rho, scale):
    thetas, gradients = drawn(shapes, seed), drawn(shapes, seed + 1, scale)
    moved = flat(sam_ascent(thetas, gradients, rho)) - flat(thetas)
    g = flat(gradients)
    # θ + ε rounds each entry by half an ulp of |θ| + ρ < 20: 2e-15 each, at most 40 entries.
    np.testing.assert_allclose(moved, rho * g / np.linalg.norm(g), atol=1e-14)
    assert np.linalg.norm(moved) == pytest.approx(rho, abs=1e-13)


@given(sizes, seeds, st.floats(1e-3, 10), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_adaptive_ascent_is_the_papers_formula(shapes, seed, rho, eta):
    thetas, gradients = drawn(shapes, seed), drawn(shapes, seed + 1)
    theta, g = flat(thetas), flat(gradients)
    t = np.diag(np.abs(theta) + eta)
    expected = theta + rho * t @ t @ g / np.linalg.norm(t @ g)
    # Entries reach ρ·T ≤ 60; a few roundings of 1.1e-16 each.
    np.testing.assert_allclose(flat(asam_ascent(thetas, gradients, rho, eta)), expected, atol=1e-13)


@given(seeds, st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_without_eta_the_adaptive_ascent_commutes_with_any_diagonal_rescaling(seed, factors):
    shapes = [(3,), (2, 4), (5,)]
    thetas, gradients = drawn(shapes, seed), drawn(shapes, seed + 1)
    here = asam_ascent(thetas, gradients, 0.5, 0.0)
    # The loss of the rescaled network at Aθ is that at θ, so its gradient is A⁻¹g.
    there = asam_ascent(
        [a * p for a, p in zip(factors, thetas, strict=True)],
        [g / a for a, g in zip(factors, gradients, strict=True)],
        0.5,
        0.0,
    )
    for a, p, q in zip(factors, here, there, strict=True):
        # Relative: every operation above is a product but θ + ε, whose terms scale alike.
        torch.testing.assert_close(q, a * p, rtol=1e-12, atol=1e-13 * a)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_columns_ascend_each_on_its_own(seed):
    theta, gradient = (t.reshape(4, 3) for t in drawn([(12,)] * 2, seed))
    rho = torch.tensor([0.05, 0.5, 2.0], dtype=torch.float64)
    plain, adaptive = sam_ascent_columns(theta, gradient, rho), asam_ascent_columns(theta, gradient, rho)
    for j in range(3):
        args = [theta[:, j]], [gradient[:, j]], float(rho[j])
        torch.testing.assert_close(plain[:, j], sam_ascent(*args)[0], rtol=0, atol=1e-15)
        torch.testing.assert_close(adaptive[:, j], asam_ascent(*args)[0], rtol=0, atol=1e-15)
    alone = sam_ascent_columns(theta[:, 0], gradient[:, 0], 0.05)
    torch.testing.assert_close(alone, plain[:, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("ascent", [sam_ascent, asam_ascent])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_gradient_without_a_direction_moves_nothing(ascent, value):
    thetas = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
    moved = ascent(thetas, [torch.tensor([value, 0.0]), torch.tensor([0.0])], 0.1)
    assert all(torch.equal(p, q) for p, q in zip(moved, thetas, strict=True))


def test_a_column_without_a_direction_leaves_the_others_alone():
    theta = torch.ones(2, 3)
    gradient = torch.tensor([[0.0, float("nan"), 3.0], [0.0, 1.0, 4.0]])
    expected = torch.tensor([[1, 1, 1.06], [1, 1, 1.08]])
    torch.testing.assert_close(sam_ascent_columns(theta, gradient, 0.1), expected)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_single_precision_gradients_may_have_any_size(scale):
    # Their squares leave the range of single precision at the ends: to 0, and to infinity.
    moved = sam_ascent([torch.zeros(2)], [torch.tensor([3.0, 4.0]) * scale], 0.5)[0]
    # 1e-42 is a denormal with three digits.
    torch.testing.assert_close(moved, torch.tensor([0.3, 0.4]), rtol=2e-3 if scale == 1e-42 else 1e-6, atol=0)


def test_half_precision_is_summed_in_double():
    # 2^17 entries of 2^-13: a half-precision sum of squares of 2^-26 is zero; 60000 squared is infinite.
    for value, count in ((2.0**-13, 2**17), (60000.0, 16)):
        norm = total_norm([torch.full((count,), value, dtype=torch.float16)])
        assert float(norm) == pytest.approx(float(np.float16(value)) * count**0.5, rel=1e-12)
    moved = sam_ascent([torch.zeros(1, dtype=torch.float16)], [torch.full((1,), 2.0**-20).half()], 0.5)[0]
    assert moved.dtype == torch.float16
    assert float(moved) == 0.5


def test_half_precision_is_rounded_once():
    # In half precision the norm, 240000, would be infinite, and the step nothing.
    moved = sam_ascent([torch.zeros(16).half()], [torch.full((16,), 60000.0).half()], 1.0)[0]
    assert torch.equal(moved, torch.full((16,), 0.25).half())
    theta, gradient = (t.bfloat16() for t in drawn([(500,)] * 2, 3))
    found = asam_ascent([theta], [gradient], 2.0)[0].double()
    exact = asam_ascent([theta.double()], [gradient.double()], 2.0)[0]
    # bfloat16 has 8 bits: rounding once is an error of 2^-8 of a number at most, and single precision adds 1e-7.
    torch.testing.assert_close(found, exact, rtol=2**-8, atol=1e-6)


def test_the_norm_spans_types_and_pieces():
    # 3 million entries are summed in several pieces.
    tensors = [torch.ones(3_000_000), torch.full((4, 2), 2.0, dtype=torch.bfloat16), torch.zeros(0)]
    assert float(total_norm(tensors)) == pytest.approx((3_000_000 + 8 * 4) ** 0.5, rel=1e-14)


def test_complex_parameters_ascend_by_their_modulus():
    moved = sam_ascent([torch.zeros(2, dtype=torch.complex128)], [torch.tensor([3j, 4.0 + 0j])], 1.0)[0]
    torch.testing.assert_close(moved, torch.tensor([0.6j, 0.8 + 0j], dtype=torch.complex128))
