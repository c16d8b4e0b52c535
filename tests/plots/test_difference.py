"""Maps of differences, and what is written under a figure."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from thalweg.errors import InvalidArgument
from thalweg.plots import caption, contours, difference, line_difference, paper
from thalweg.plots.difference import symmetric

X, Y = np.linspace(-1, 1, 15), np.linspace(-2, 2, 11)
SLOPE = X[:, None] + 0.2 * Y[None, :] ** 2


def sets(ax) -> list[QuadContourSet]:
    return [artist for artist in ax.get_children() if isinstance(artist, QuadContourSet)]


def test_zero_is_the_middle_of_the_colours_and_both_sides_reach_as_far() -> None:
    filled = sets(difference(X, Y, SLOPE))[0]
    assert filled.norm.vmin == -filled.norm.vmax == -np.abs(SLOPE).max()
    middle = filled.cmap(filled.norm(0.0))[:3]
    # Nearly white, and the ends are dark.
    assert min(middle) > 0.9
    assert max(filled.cmap(0.0)[:3]) < 0.6
    assert min(filled.cmap(1.0)[:3]) < 0.3
    assert filled.levels[0] == -filled.levels[-1]
    assert 0 in filled.levels


def test_a_few_large_differences_do_not_take_all_colours() -> None:
    spiked = SLOPE.copy()
    spiked[3, 4], spiked[7, 1] = 1000, -1000
    scale = symmetric(spiked)
    # Two in a hundred of 165.
    assert 2 <= scale.above + scale.below <= 4
    assert scale.upper < 3
    assert difference(X, Y, spiked) is not None


def test_what_is_within_its_error_is_hatched() -> None:
    bounds = np.full_like(SLOPE, 0.3)
    ax = difference(X, Y, SLOPE, bounds=bounds)
    hatched = [found for found in sets(ax) if found.hatches and found.hatches[0]]
    assert len(hatched) == 1
    corners = hatched[0].get_paths()[0].vertices
    # α + 0.2 β² = ± 0.3 through β = 0.
    assert np.abs(corners[np.abs(corners[:, 1]) < 0.1, 0]).max() < 0.3 + (X[1] - X[0])
    for known in (None, np.zeros_like(SLOPE)):
        assert not [found for found in sets(difference(X, Y, SLOPE, bounds=known)) if found.hatches[0]]


def test_missing_values_and_none_at_all() -> None:
    holes = np.where(SLOPE > 1, np.inf, SLOPE)
    assert difference(X, Y, holes).patch.get_hatch() == "////"
    assert difference(X, Y, np.full_like(SLOPE, np.nan)).patch.get_hatch() == "////"
    assert symmetric(np.zeros((3, 3))).upper == 1.0
    assert difference(X, Y, np.zeros_like(SLOPE)) is not None


def test_a_line_has_its_band_around_it() -> None:
    ax = line_difference(X, X**3, bounds=np.full(15, 0.1), label="along d")
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(1.1)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), X**3)
    assert ax.get_xlabel() == "along d"
    assert np.isnan(line_difference(X, np.full(15, np.inf)).lines[1].get_ydata()).all()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InvalidArgument, match="values must have shape"):
        difference(X, Y, SLOPE.T)
    with pytest.raises(InvalidArgument, match="bounds must have shape"):
        difference(X, Y, SLOPE, bounds=SLOPE.T)
    with pytest.raises(InvalidArgument, match="bounds must be a sequence of 15 numbers"):
        line_difference(X, X, bounds=Y)


def test_a_caption_is_below_the_axes_and_within_the_page() -> None:
    sentences = [f"Sentence {i} of what the picture rests on costs $5 and 3 %." for i in range(9)]
    with paper():
        figure = Figure(figsize=(5, 4), layout="constrained")
        ax = contours(X, Y, SLOPE, figure.add_subplot())
        caption(figure, sentences)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (text,) = [found for found in figure.texts if "Sentence 0" in found.get_text()]
        box, page = text.get_window_extent(), figure.bbox
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 < ax.get_tightbbox().y0
    assert " ".join(text.get_text().split("\n")).replace("\\$", "$") == " ".join(sentences)
    empty = Figure(figsize=(5, 4), layout="constrained")
    caption(empty, [])
    assert empty.get_figheight() == 4
