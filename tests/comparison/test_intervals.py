from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thalweg.comparison.intervals import difference, estimate

# In thousandths: SciPy warns of values that are nearly alike.
VALUES = st.lists(st.integers(-10_000, 10_000).map(lambda n: n / 1000), min_size=2, max_size=8, unique=True)


@given(VALUES)
def test_is_students_interval(values: list[float]) -> None:
    found = estimate(values)
    with_scipy = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    # Some ten operations in double precision on numbers up to 100.
    assert (found.low, found.high) == pytest.approx(with_scipy, rel=1e-9, abs=1e-9)
    assert found.values == tuple(values)


def test_paired_differences() -> None:
    a, b = [1.0, 2.5, 4.0, math.nan], [0.5, 2.2, 3.1, 7.0]
    with_scipy = stats.ttest_rel(a[:3], b[:3]).confidence_interval(0.95)
    found = difference(a, b)
    assert (found.low, found.high) == pytest.approx(with_scipy, rel=1e-12)
    assert found.holds_zero == (with_scipy.low <= 0 <= with_scipy.high)
    # The pairs differ by little although the values spread: what pairing is for.
    assert found.half_width < estimate(a).half_width / 3


def test_too_few_values_have_no_interval() -> None:
    one = estimate([3.0])
    assert one.mean == 3
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert not one.holds_zero
    assert math.isnan(estimate([math.nan, math.inf]).mean)
    assert estimate([math.nan, 3.0, 5.0]).mean == 4
