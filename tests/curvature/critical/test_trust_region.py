"""Steps against their definitions: shortest, least, in the right direction along each eigenvector."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from thalweg.curvature.critical.trust_region import (
    index_step,
    judged_by_agreement,
    judged_by_decrease,
    least_squares_step,
    newton_step,
    within,
)

numbers = st.floats(1e-6, 1e6).flatmap(lambda x: st.sampled_from([x, -x]))
rows = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.lists(numbers, min_size=n, max_size=n), st.lists(numbers, min_size=n, max_size=n))
)
radii = st.floats(1e-6, 1e6)


def row(values):
    return torch.tensor([values], dtype=torch.float64)


def one(value):
    return torch.tensor([value], dtype=torch.float64)


@given(rows, radii)
def test_within(pair, radius):
    """pull / (stiffness + μ) where a root finder says that μ is, to the tenth that the radius is met with."""
    stiffness, pull = row(pair[0]).abs(), row(pair[1])

    def length(shift):
        return float((pull / (stiffness + shift)).norm())

    step = within(stiffness, pull, one(radius))
    if length(0.0) <= radius:
        assert torch.equal(step, pull / stiffness)
        return
    assert radius * 0.999 <= float(step.norm()) <= radius * 1.101
    high = float(pull.norm()) / radius
    shift = brentq(lambda x: length(x) - float(step.norm()), 0.0, high * 1.01, xtol=1e-300, rtol=1e-14)
    assert torch.allclose(step, pull / (stiffness + shift), rtol=1e-6, atol=1e-9 * radius)


def test_within_many_at_once():
    """Each row has a radius of its own, and rows do not touch each other."""
    draw = torch.Generator().manual_seed(0)
    stiffness = torch.rand(50, 4, generator=draw, dtype=torch.float64).exp()
    pull = torch.randn(50, 4, generator=draw, dtype=torch.float64)
    radius = torch.rand(50, generator=draw, dtype=torch.float64)
    together = within(stiffness, pull, radius)
    for i in range(50):
        alone = within(stiffness[i : i + 1], pull[i : i + 1], radius[i : i + 1])[0]
        # Rows that are done stay as they are while others go on.
        assert torch.allclose(together[i], alone, rtol=1e-12)


@given(rows, radii)
def test_least_squares_steps_lower_the_gradient(pair, radius):
    values, slope = row(pair[0]), row(pair[1])
    step = least_squares_step(values, slope, one(radius))
    assert float(step.norm()) <= 1.101 * radius
    assert float((slope + values * step).norm()) <= float(slope.norm()) * (1 + 1e-12)
    far = least_squares_step(values, slope, one(1e300))
    beyond = values.abs() > 1e-11 * values.abs().max()
    assert torch.allclose(far[beyond], (-slope / values)[beyond], rtol=1e-9)


@given(rows, radii, st.integers(0, 6))
def test_index_steps_climb_along_the_lowest_eigenvectors(pair, radius, index):
    values, slope = row(sorted(pair[0])), row(pair[1])
    index = min(index, values.shape[1])
    step = index_step(values, slope, one(radius), torch.tensor([index]))
    assert float(step.norm()) <= 1.101 * radius
    assert (step[0, :index] * slope[0, :index] > 0).all()
    assert (step[0, index:] * slope[0, index:] < 0).all()


def test_an_index_step_is_newtons_at_a_point_of_that_index():
    values, slope = row([-3.0, -1.0, 0.5, 2.0]), row([0.1, -0.2, 0.3, 0.4])
    far = one(100.0)
    assert torch.allclose(index_step(values, slope, far, torch.tensor([2])), -slope / values)
    assert torch.allclose(newton_step(values, slope, 1e-12), -slope / values)
    saddle_free = index_step(values, slope, far, torch.tensor([0]))
    assert torch.allclose(saddle_free, -slope / values.abs())


def test_eigenvalues_that_are_rounding():
    values, slope = row([-1e-17, 0.0, 1.0]), row([1e-8, 1e-8, 1.0])
    assert newton_step(values, slope, 1e-12).tolist() == [[0, 0, -1]]
    assert least_squares_step(values, slope, one(10.0)).tolist() == [[0, 0, -1]]
    nothing = index_step(row([0.0, 0.0]), row([3.0, 4.0]), one(1.0), torch.tensor([0]))
    assert torch.allclose(nothing, row([-0.6, -0.8]))


def test_judgements():
    radius, widest = one(1.0), one(1.5)

    def agreement(miss, length):
        good, after = judged_by_agreement(one(miss), one(length), radius, widest)
        return bool(good), float(after)

    assert agreement(0.1, 1.0) == (True, 1.5)
    assert agreement(0.1, 0.2) == (True, 1.0)
    assert agreement(1.5, 1.0) == (True, 0.7)
    assert agreement(2.5, 1.0) == (False, 0.3)
    assert agreement(2.5, 0.5) == (False, 0.15)
    assert agreement(float("nan"), 1.0) == (False, 0.3)

    def decrease(after, promised, length):
        good, radius_after = judged_by_decrease(one(1.0), one(after), one(promised), one(length), radius)
        return bool(good), float(radius_after)

    assert decrease(0.1, 0.1, 1.0) == (True, 2.5)
    assert decrease(0.1, 0.1, 0.5) == (True, 1.0)
    assert decrease(0.95, 0.1, 1.0) == (True, 0.25)
    assert decrease(1.5, 0.1, 1.0) == (False, 0.25)
    assert decrease(float("inf"), 0.1, 1.0) == (False, 0.25)
