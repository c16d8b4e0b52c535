"""Ratios with their intervals against a search over all ratios, and against repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from thalweg.curvature.noise.ratio import EXACT, Spread, ratio

positive = st.floats(0.1, 10)


@settings(deadline=None, max_examples=60)
@given(positive, st.floats(-1, 10), positive, positive, st.floats(-0.9, 0.9), st.integers(2, 50))
def test_the_interval_holds_the_ratios_that_a_t_test_keeps(a, b, sd_a, sd_b, correlation, freedom):
    mixed = correlation * sd_a * sd_b
    low, high = ratio(a, b, Spread(sd_a**2, mixed, sd_b**2, freedom)).interval
    r = np.geomspace(1e-3, 1e4, 400)
    t = np.abs(a - r * b) / np.sqrt(sd_a**2 - 2 * r * mixed + (r * sd_b) ** 2)
    kept = t <= float(stats.t.ppf(0.975, freedom))
    assert (~kept | ((low * (1 - 1e-6) <= r) & (r <= high * (1 + 1e-6)))).all()
    if high < math.inf:
        assert kept[(r > low * (1 + 1e-6)) & (r < high * (1 - 1e-6))].all()


@pytest.mark.parametrize("mean", [8.0, 2.0, 0.3])
def test_the_interval_covers_also_where_the_denominator_is_hardly_known(mean):
    """300 draws of 10 pairs: 95 % ± 3 standard errors of a binomial, that is at least 274."""
    draw, hits, open_ended = np.random.default_rng(0), 0, 0
    for _ in range(300):
        pairs = draw.multivariate_normal([3.0, mean], [[4, 1], [1, 9]], 10)
        (va, vab), (_, vb) = np.cov(pairs.T) / 10
        low, high = ratio(*pairs.mean(0), Spread(va, vab, vb, 9)).interval
        hits += low <= 3 / mean <= high
        open_ended += high == math.inf
    assert hits >= 274
    assert (open_ended > 200) == (mean < 1)


def test_standard_errors_are_those_of_small_deviations():
    spread = Spread(0.04, 0.01, 0.09, 30)
    pairs = np.random.default_rng(0).multivariate_normal([30.0, 20.0], [[0.04, 0.01], [0.01, 0.09]], 40000)
    # Relative error of a standard deviation from 40,000 draws: 1/√80,000 = 0.4 %, taken four times.
    assert ratio(30.0, 20.0, spread).stderr == pytest.approx((pairs[:, 0] / pairs[:, 1]).std(), rel=0.015)


def test_ends_of_the_range():
    assert ratio(3.0, 2.0, EXACT) == ratio(3.0, 2.0, EXACT)
    assert ratio(3.0, 2.0, EXACT).interval == (1.5, 1.5)
    assert ratio(3.0, 0.0, EXACT).value == math.inf
    assert math.isnan(ratio(0.0, 0.0, EXACT).value)
    unknown = ratio(3.0, -1.0, Spread(0.1, 0.0, 1.0, 9))
    assert (unknown.value, unknown.stderr, unknown.interval[1]) == (math.inf, math.inf, math.inf)
    assert unknown.interval[0] > 0
    # A numerator and a denominator that may both be zero leave everything open.
    assert ratio(0.1, 0.1, Spread(1.0, 0.0, 1.0, 9)).interval == (0.0, math.inf)
