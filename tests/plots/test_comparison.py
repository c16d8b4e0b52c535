from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from thalweg.errors import InvalidArgument
from thalweg.plots import comparison, range_test, seed_curves, tuning_curves
from thalweg.plots.end_labels import spread

if TYPE_CHECKING:
    from thalweg.comparison import Comparison
    from thalweg.comparison.result import Entry

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


def test_tuning_curves_have_a_legend_with_the_marks_that_occur() -> None:
    def legend(trials: dict[str, tuple[list[float], list[float]]], **given: Any) -> list[str]:
        found = tuning_curves(trials, **given).get_legend()
        return [] if found is None else [text.get_text() for text in found.get_texts()]

    plain = {"a$": ([0.1, 0.2], [1.0, 2.0]), "b": ([0.1], [3.0])}
    assert legend(plain) == [r"a\$", "b"]
    assert legend(plain, chosen={"b": 0.1}) == [r"a\$", "b", "chosen"]
    assert legend(plain | {"b": ([0.1, 1.0], [3.0, math.nan])})[2:] == ["diverged"]
    assert legend(plain, legend=False) == []


def test_accuracies_are_shown_whole_on_linear_axes() -> None:
    ax = seed_curves({"a": (STEPS, [[0.02, 0.7, 0.99]])}, quantity="test accuracy", rising=True)
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < 0.02
    assert 0.99 < ax.get_ylim()[1] < 1.1
    assert tuning_curves({"a": ([0.1, 1.0], [0.02, 0.99])}, rising=True).get_yscale() == "linear"


def test_the_name_of_the_axis_stands_under_the_curves() -> None:
    ax = seed_curves({"an optimizer of a long name": (STEPS, [[2.0, 1.0, 0.1]])})
    middle, _ = ax.transAxes.inverted().transform(ax.transData.transform((10, 1)))
    assert ax.xaxis.label.get_position()[0] == pytest.approx(middle)


def found(metric: str, names: Sequence[str] = ("adam", "lion")) -> Comparison:
    def entry(name: str, rate: float) -> Entry:
        values = {metric: ((0.9, 0.5, 0.2), (0.9, 0.6, 0.3))}
        curve = SimpleNamespace(evaluations=tuple(STEPS), values=values)
        return cast(
            "Entry",
            SimpleNamespace(optimizer=name, rate=rate, curve=curve, trials=((0.1, 0.3), (0.01, 0.8))),
        )

    return cast(
        "Comparison",
        SimpleNamespace(
            problem="digits",
            metric=metric,
            seeds=(0, 1),
            goal_loss=0.4,
            tuning_budget=10,
            entries=tuple(entry(name, rate) for name, rate in zip(names, (0.1, 0.01) * 9, strict=False)),
        ),
    )


@pytest.mark.parametrize("metric", ["test loss", "test accuracy"])
def test_a_comparison_has_both_panels_in_the_same_colours(metric: str) -> None:
    figure = comparison(found(metric))
    curves, tuning = figure.axes
    assert figure.get_suptitle() == "digits"
    legend = tuning.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["adam", "lion", "chosen"]
    drawn = {line.get_label(): line.get_color() for line in tuning.lines if len(line.get_xdata()) == 2}
    names = {text.get_text(): text.get_color() for text in curves.texts}
    assert {name: names[name] for name in drawn} == drawn
    # A loss to come to is marked, and for accuracies there is none.
    assert ("target" in names) == (metric == "test loss")


def test_names_at_the_ends_of_many_curves_do_not_overlap() -> None:
    names = [f"schedule_free_adamw(weight_decay={i})" for i in range(13)]
    figure = comparison(found("test loss", names))
    figure.draw_without_rendering()
    curves, tuning = figure.axes
    # Of the letters alone, without the lines to the curves.
    boxes = [Text.get_window_extent(text) for text in curves.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    right = tuning.yaxis.label.get_window_extent()
    assert max(box.x1 for box in boxes) < right.x0


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
