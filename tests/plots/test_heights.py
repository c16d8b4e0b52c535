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


SURFACES = {
    "trained": lambda x, y: 0.15 + 1.2 * (x**2 + y**2 + 0.5 * x * y) + 0.5 * np.exp(1.2 * (x + y) - 1),
    "flat": lambda x, y: 1 + 0.4 * (x**2 + y**2),
    "zero": lambda x, y: x**2 + y**2,
    "far off": lambda x, y: (x - 3) ** 2 + 0.2,
    "signed bowl": lambda x, y: x**2 + y**2 - 0.5,
    "signed": lambda x, y: x**2 - y**2,
}


@pytest.mark.parametrize("name", SURFACES)
def test_the_scale_is_a_matter_of_the_surface_and_not_of_the_resolution(name: str) -> None:
    scales = list[Heights]()
    for n in (9, 21, 31, 51, 101):
        x = np.linspace(-1, 1, n)
        scales.append(Heights.of(SURFACES[name](x[:, None], x[None, :])))
    assert len({scale.logarithmic for scale in scales}) == 1
    assert [scale.upper for scale in scales] == pytest.approx([scales[-1].upper] * 5, rel=1e-9)


def test_a_basin_of_a_tenth_is_logarithmic_unless_it_is_not_to_be() -> None:
    basin = 0.15 + 2 * bowl(51)
    assert Heights.of(basin).logarithmic
    assert not Heights.of(basin, logarithmic_from=math.inf).logarithmic
    assert not Heights.of(basin, logarithmic_from=100).logarithmic


def test_the_bulk_of_a_grid_is_that_of_its_area() -> None:
    # 3 of 121 points, but at the edge: 1.25 of 100 cells.
    spiked = 1 + bowl(11) / 10
    spiked[0, :3] = 100
    assert Heights.of(spiked).upper < 2
    within = 1 + bowl(11) / 10
    within[5, 5:8] = 100
    assert Heights.of(within).upper > 2


def test_a_narrow_logarithmic_range_has_levels() -> None:
    scale = Heights(0.0, True, 1.15, 1.37, 0, 0, 0, 10)
    assert scale.levels().size >= 4
    assert scale.levels() == pytest.approx(np.round(scale.levels(), 2))


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
