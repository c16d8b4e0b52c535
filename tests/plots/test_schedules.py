from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from thalweg import schedules as s
from thalweg.errors import InvalidArgument
from thalweg.plots import schedules

WARMED = s.warmup(3, then=s.cosine(0.2, steps=7))


def test_every_schedule_is_a_curve_with_a_name() -> None:
    ax = Figure().add_subplot()
    given = {"a $ constant": s.constant(0.1).rates(12), "warm-up, cosine": WARMED.rates(12)}
    assert schedules(given, ax, step="epoch") is ax
    constant, warmed = ax.lines
    assert warmed.get_xdata().tolist() == list(range(13))
    assert warmed.get_ydata().tolist() == [*WARMED.rates(12), 0.0]
    assert warmed.get_drawstyle() == "steps-post"
    assert constant.get_color() != warmed.get_color()
    # So that both are seen where they lie on each other.
    assert constant.get_linewidth() > warmed.get_linewidth() + 0.4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"a \$ constant", "warm-up, cosine"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "learning rate η")
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 0.2
    ax.figure.draw_without_rendering()


def test_one_schedule_needs_no_legend() -> None:
    ax = schedules({"step": s.step(0.1, every=3).rates(9)})
    assert ax.get_legend() is None
    assert ax.get_yscale() == "linear"


def test_a_logarithmic_axis_leaves_out_zeros() -> None:
    given = np.array([0.0, 0.1, 0.001, 0.0])
    ax = schedules({"rates": given}, logarithmic=True)
    assert ax.get_yscale() == "log"
    assert [math.isnan(y) for y in ax.lines[0].get_ydata()] == [True, False, False, True, True]
    assert given.tolist() == [0.0, 0.1, 0.001, 0.0]
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({}, "rates must hold at least one schedule"),
        ({"a": []}, r"rates\['a'\] must hold at least one number"),
        ({"a": [[0.1]]}, r"rates\['a'\] must be a sequence of numbers, got shape \(1, 1\)"),
    ],
)
def test_bad_rates(rates: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        schedules(rates)
