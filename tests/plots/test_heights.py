from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thalweg.plots import Heights

NAN = math.nan


def bowl(n: int = 21) -> np.ndarray:
    x = np.linspace(-1, 1, n)
    return x[:, None] ** 2 + x[None, :] ** 2


def test_a_small_range_is_linear() -> None:
    scale = Heights.of(1 + bowl())
    assert (scale.logarithmic, scale.base, scale.lower, scale.upper) == (False, 0.0, 1.0, 3.0)
    assert scale.remarks("loss") == []


def test_a_wide_range_is_logarithmic_with_round_levels() -> None:
    scale = Heights.of(np.geomspace(0.002, 50, 400))
    assert scale.logarithmic
    assert scale.levels() == pytest.approx([0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30])
    assert scale.label("loss") == "loss"


def test_a_zero_among_the_values_does_not_stretch_the_scale() -> None:
    scale = Heights.of(np.append(np.geomspace(1, 1e4, 99), 0.0))
    assert (scale.lower, scale.below) == (1.0, 1)
    assert "1 of 100 points have a loss below 1" in scale.remarks("loss")[1]


def test_negative_values_over_a_wide_range_are_measured_from_the_lowest() -> None:
    values = np.append(np.geomspace(1e-3, 1e4, 999), 0.0) - 3.5
    scale = Heights.of(values)
    assert scale.logarithmic
    assert scale.base == -3.5
    assert scale.label("loss") == "loss + 3.5"


def test_negative_values_over_a_small_range_stay_linear() -> None:
    assert not Heights.of(bowl() - 0.5).logarithmic


def test_a_spike_is_cut_off_and_said_so() -> None:
    values = np.append(np.linspace(1, 2, 99), 50.0)
    scale = Heights.of(values)
    assert scale.upper < 2.01
    assert scale.above >= 1
    assert scale(values).max() == scale.upper
    assert any("of 100 points have a loss above" in line for line in scale.remarks("loss"))


def test_missing_points_are_counted_and_stay_missing() -> None:
    values = np.array([[1.0, NAN], [math.inf, 2.0]])
    scale = Heights.of(values)
    assert (scale.missing, scale.points) == (2, 4)
    assert np.isnan(scale(values)).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("values", [[NAN, NAN], [3.0, 3.0, 3.0], [0.0, 0.0], [-1e-30, -1e-30], [1e300, 1.0]])
def test_degenerate_maps_have_a_scale(values: list[float]) -> None:
    scale = Heights.of(values)
    assert scale.lower < scale.upper
    assert (np.diff(scale.bands()) > 0).all()


@given(arrays(np.float64, 30, elements=st.floats(-1e6, 1e6) | st.just(NAN) | st.floats(0, 1e-6)))
def test_bands_cover_the_range_in_ascending_order(values: np.ndarray) -> None:
    scale = Heights.of(values)
    bands = scale.bands()
    # To the last digit, for contours leave blank what is below their lowest bound.
    assert bands[0] == scale.lower
    assert bands[-1] == scale.upper
    assert (np.diff(bands) > 0).all()
    heights = scale(values)
    assert np.isnan(heights).tolist() == np.isnan(values).tolist()
    if scale.logarithmic:
        assert scale.lower > 0
