from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from thalweg.errors import InvalidArgument
from thalweg.plots import range_test, seed_curves, tuning_curves
from thalweg.plots.end_labels import spread

STEPS = [0, 10, 20]


def test_curves_are_means_in_bands_with_names_at_their_ends() -> None:
    ax = Figure().add_subplot()
    given = {
        "a$b": (STEPS, [[2.0, 1.0, 0.1], [4.0, 3.0, 0.3]]),
        "lost": (STEPS, [[2.0, 5.0, math.nan], [2.0, 4.0, 3.0]]),
    }
    assert seed_curves(given, ax, quantity="test loss", goal=0.5) is ax
    first, lost, goal = ax.lines
    assert first.get_ydata().tolist() == pytest.approx([3.0, 2.0, 0.2])
    # Where one seed has diverged there is no mean.
    assert np.isnan(lost.get_ydata()[-1])
    assert goal.get_ydata().tolist() == [0.5, 0.5]
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band} >= {(0, 2.0), (0, 4.0), (20, 0.1), (20, 0.3)}
    assert [text.get_text() for text in ax.texts] == [r"a\$b", "lost (diverged)", "target"]
    assert ax.texts[0].get_color() == first.get_color() != lost.get_color()
    assert ax.get_yscale() == "log"
    assert ax.get_xlim()[1] > 20
    assert max(ax.get_xticks()) <= 20
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert min(np.diff(heights)) > 0.01
    ax.figure.draw_without_rendering()


def test_a_narrow_range_stays_linear_and_what_diverges_leaves_the_picture() -> None:
    ax = seed_curves({"a": (STEPS, [[0.9, 0.8, 0.7]]), "b": (STEPS, [[0.9, 0.8, 1e9]])}, quantity="accuracy")
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[1] < 2
    assert not ax.collections


def test_tuning_curves_ring_the_choice_and_cross_out_what_diverged() -> None:
    ax = tuning_curves(
        {"a": ([0.1, 0.001, 1.0], [0.3, 2.0, math.nan]), "b": ([0.1], [50.0])}, chosen={"a": 0.1}, ceiling=5.0
    )
    curve, ring, other, cross = ax.lines
    assert curve.get_xdata().tolist() == [0.001, 0.1]
    assert curve.get_ydata().tolist() == [2.0, 0.3]
    assert (ring.get_xdata(), ring.get_ydata()) == (pytest.approx([0.1]), pytest.approx([0.3]))
    assert other.get_ydata().tolist() == [5.0]
    assert (cross.get_xdata().tolist(), cross.get_ydata().tolist()) == ([1.0], [1.0])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ax.figure.draw_without_rendering()


def test_range_test_marks_rates() -> None:
    rates = np.geomspace(1e-4, 1, 30)
    losses = np.linspace(2, 1, 30)
    losses[-3:] = [20, 300, np.nan]
    ax = range_test(
        rates, losses, np.minimum(np.nan_to_num(losses, nan=9), 9), marks={"suggested": 1e-2, "none": None}
    )
    assert [text.get_text() for text in ax.texts] == ["suggested 0.01"]
    assert ax.get_ylim()[1] < 3
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    "call",
    [
        lambda: seed_curves({}),
        lambda: seed_curves({"a": (STEPS, [1.0, 2.0, 3.0])}),
        lambda: seed_curves({"a": (STEPS, [[1.0, 2.0]])}),
        lambda: tuning_curves({}),
        lambda: tuning_curves({"a": ([], [])}),
        lambda: tuning_curves({"a": ([1.0], [1.0, 2.0])}),
        lambda: range_test([1.0, 2.0], [1.0]),
    ],
)
def test_bad_input(call) -> None:
    with pytest.raises(InvalidArgument):
        call()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_names_are_spread_apart_in_their_order(places: list[float]) -> None:
    moved = spread(places, 0.1)
    order = np.argsort(places, kind="stable")
    # Sums of a few numbers of order 1.
    assert all(np.diff(np.array(moved)[order]) >= 0.1 - 1e-12)
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-9)
    if all(np.diff(np.sort(places)) >= 0.1):
        assert moved == pytest.approx(places, abs=1e-9)
