from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from thalweg.errors import InvalidArgument
from thalweg.plots import bilinear, contours, line_slice, line_stack, surface

X, Y = np.linspace(-1, 1, 15), np.linspace(-2, 2, 11)
VALLEY = 1e-3 + (X[:, None] - 0.3) ** 2 + 10 * (Y[None, :] - 0.4) ** 2
PATH = [[-0.8, -1.5], [0.0, 0.0], [0.3, 0.4]]


def sets(ax: Axes) -> list[QuadContourSet]:
    return [artist for artist in ax.get_children() if isinstance(artist, QuadContourSet)]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def labels(ax: Axes) -> list[str]:
    return [child.get_text() for child in ax.findobj(Text) if child.get_text()]


def test_it_draws_into_the_axes_it_was_given() -> None:
    ax = Figure().add_subplot()
    assert contours(X, Y, VALLEY, ax) is ax


def test_a_wide_range_is_coloured_logarithmically_with_labelled_lines() -> None:
    ax = contours(X, Y, VALLEY, labels=("east", "north"))
    filled, lines = sets(ax)
    assert isinstance(filled.norm, LogNorm)
    assert lines.levels.size >= 3
    assert {"east", "north", "loss (logarithmic)", "10"} <= set(labels(ax.figure))


def test_a_small_range_is_coloured_linearly() -> None:
    ax = contours(X, Y, 1 + VALLEY / 50)
    assert not isinstance(sets(ax)[0].norm, LogNorm)
    assert "loss" in labels(ax.figure)


def test_the_first_axis_runs_to_the_right() -> None:
    rising = np.repeat(X[:, None], Y.size, axis=1)
    filled = sets(contours(X, Y, rising))[0]
    band = filled.get_paths()[-1].vertices
    assert band[:, 0].min() > 0.5
    assert np.ptp(band[:, 1]) == pytest.approx(4)


def test_missing_values_are_hatched_and_not_filled() -> None:
    broken = VALLEY.copy()
    broken[:5, :4] = [[math.nan, math.inf, math.nan, -math.inf]]
    ax = contours(X, Y, broken)
    assert ax.patch.get_hatch()
    vertices = np.concatenate([path.vertices for path in sets(ax)[0].get_paths() if len(path.vertices)])
    assert not ((vertices[:, 0] < X[4]) & (vertices[:, 1] < Y[3])).any()
    assert not contours(X, Y, VALLEY).patch.get_hatch()


def test_a_map_without_any_value_is_hatched() -> None:
    ax = contours(X, Y, np.full(VALLEY.shape, math.nan))
    assert ax.patch.get_hatch()
    assert not sets(ax)
    assert "no finite value" in labels(ax.figure)


def test_what_is_cut_off_is_dotted() -> None:
    spiked = 1 + VALLEY / 50
    spiked[0, 0] = 1e3
    assert sets(contours(X, Y, spiked))[-1].hatches == ["..."]


def test_the_path_has_its_ends_marked_and_its_points_filled_by_their_true_loss() -> None:
    ax = contours(X, Y, VALLEY, path=PATH, path_values=[10.0, 2.0, 0.001])
    assert legend(ax) == ["start", "end"]
    (points,) = [child for child in ax.collections if not isinstance(child, QuadContourSet)]
    assert points.get_offsets().tolist() == PATH
    # What is below the map's range is drawn in its lowest colour.
    assert points.get_array().tolist() == [10.0, 2.0, VALLEY.min()]
    assert points.norm.vmax == sets(ax)[0].norm.vmax
    assert next(line.get_xdata().tolist() for line in ax.lines) == [-0.8, 0.0, 0.3]


@pytest.mark.parametrize(
    ("point", "marks"),
    [
        ((0.0, 0.0), ["the point, (0, 0)"]),
        ((0.5, -0.25), ["the point, (0.5, -0.25)"]),
        (None, []),
        ((9.0, 0.0), []),
    ],
)
def test_the_point_is_marked_where_there_is_no_path(
    point: tuple[float, float] | None, marks: list[str]
) -> None:
    assert legend(contours(X, Y, VALLEY, point=point)) == marks


def test_known_minima_are_marked() -> None:
    assert "known minimum" in legend(contours(X, Y, VALLEY, minima=[[0.3, 0.4]]))


def test_a_dollar_in_a_label_starts_no_formula() -> None:
    ax = contours(X, Y, VALLEY, labels=(r"$\nosuchcommand{", "b$"))
    ax.figure.draw_without_rendering()
    assert r"\$\nosuchcommand{" in ax.get_xlabel()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": VALLEY.T}, r"values must have shape \(15, 11\), one value per point, got \(11, 15\)"),
        ({"alpha": VALLEY}, r"alpha must be a sequence of numbers, got shape \(15, 11\)"),
        ({"path": [1.0, 2.0]}, r"path must have shape \(t, 2\), got \(2,\)"),
        (
            {"path": PATH, "path_values": [1.0]},
            r"path_values must be a sequence of 3 numbers, got shape \(1,\)",
        ),
    ],
)
def test_wrong_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        contours(**({"alpha": X, "beta": Y, "values": VALLEY} | changes))


def test_the_surface_is_lifted_by_the_logarithm() -> None:
    space: Any = surface(X, Y, VALLEY)
    assert space.get_zlim() == pytest.approx([np.log10(VALLEY.min()), np.log10(VALLEY.max())])
    linear: Any = surface(X, Y, 1 + VALLEY / 50)
    assert linear.get_zlim()[0] == pytest.approx((1 + VALLEY / 50).min())


def test_the_path_lies_on_the_surface_or_at_its_true_loss() -> None:
    def heights(**given: Any) -> np.ndarray:
        space: Any = surface(X, Y, VALLEY, path=PATH, **given)
        return np.asarray(space.lines[0].get_data_3d()[2])

    on_it = bilinear(X, Y, np.log10(VALLEY), PATH)
    # It is lifted by a hundredth of the height so that it stays visible.
    lift = 0.0101 * np.log10(VALLEY.max() / VALLEY.min())
    assert heights() == pytest.approx(on_it, abs=lift)
    assert heights(path_values=[10.0, 1.0, 0.01]) == pytest.approx([1.0, 0.0, -2.0], abs=lift)


def test_path_points_off_the_map_are_not_on_the_surface() -> None:
    space: Any = surface(X, Y, VALLEY, path=[*PATH, [5.0, 0.0]])
    assert len(space.lines[0].get_data_3d()[0]) == 3


def test_missing_values_leave_holes() -> None:
    broken = VALLEY.copy()
    broken[3:6, 3:6] = math.nan
    faces = surface(X, Y, broken).collections[0].get_array()
    # Four faces have no corner left; those that have lost one or two of four may be drawn as triangles.
    assert np.isfinite(np.ma.filled(faces, math.nan)).sum() <= (X.size - 1) * (Y.size - 1) - 4


def test_bilinear_is_exact_on_bilinear_functions_and_missing_outside() -> None:
    plane = 2 + X[:, None] - 3 * Y[None, :] + 0.5 * X[:, None] * Y[None, :]
    at = np.array([[0.123, -1.77], [1.0, 2.0], [-1.0, -2.0], [1.5, 0.0]])
    expected = 2 + at[:, 0] - 3 * at[:, 1] + 0.5 * at[:, 0] * at[:, 1]
    expected[3] = math.nan
    assert bilinear(X, Y, plane, at) == pytest.approx(expected, nan_ok=True)


def test_lines_are_labelled_once_where_there_is_room() -> None:
    x = np.linspace(-1, 1, 41)
    ax = contours(x, x, 1e-3 + x[:, None] ** 2 + x[None, :] ** 2)
    found = [text.get_text() for text in ax.texts]
    assert len(found) == len(set(found))
    # The ring at 0.1 is a third of the map wide, that at 0.03 a sixth.
    assert {"0.1", "0.3", "1"} <= set(found)
    assert "0.03" not in found


def test_labels_keep_off_the_path() -> None:
    x = np.linspace(-1, 1, 41)
    bowl = 1e-3 + x[:, None] ** 2 + x[None, :] ** 2
    without = {text.get_text(): np.array(text.get_position()) for text in contours(x, x, bowl).texts}
    path = np.array([without["0.3"] * 1.3, [0.0, 0.0]])
    ax = contours(x, x, bowl, path=path)
    assert {text.get_text() for text in ax.texts} == set(without)
    line = path[0] * np.linspace(0, 1, 100)[:, None]
    for text in ax.texts:
        # A twentieth of the map, which is two wide.
        assert np.abs(np.array(text.get_position()) - line).max(axis=1).min() > 0.1


def test_an_accuracy_is_linear() -> None:
    shares = np.linspace(0.01, 1, X.size * Y.size).reshape(X.size, Y.size)
    assert isinstance(sets(contours(X, Y, shares))[0].norm, LogNorm)
    assert not isinstance(sets(contours(X, Y, shares, name="accuracy"))[0].norm, LogNorm)
    space: Any = surface(X, Y, shares, name="accuracy")
    assert space.get_zlim() == pytest.approx([0.01, 1])
    assert line_slice(X, np.geomspace(1e-3, 1, X.size), name="accuracy").get_yscale() == "linear"
    assert line_slice(X, np.geomspace(1e-3, 1, X.size)).get_yscale() == "log"


def test_colours_that_part_at_zero() -> None:
    signed = X[:, None] + 0 * Y[None, :] + 0.5
    filled = sets(contours(X, Y, signed, diverging=True))[0]
    assert (filled.norm.vmin, filled.norm.vmax) == (-1.5, 1.5)
    assert min(filled.cmap(filled.norm(0.0))[:3]) > 0.9


def test_places_are_marked_by_their_names() -> None:
    ax = contours(X, Y, VALLEY, marks={"A": (0.0, 0.0), "B": (0.5, 1.0)})
    assert {"A", "B"} <= {text.get_text() for text in ax.texts}
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.0, 0.0]], [[0.5, 1.0]]]
    assert ax.get_legend() is None


@pytest.mark.parametrize("draw", [lambda: contours(X, Y, VALLEY), lambda: line_stack(X, VALLEY.T)])
def test_the_legend_is_within_the_page(draw: Any) -> None:
    ax = draw()
    FigureCanvasAgg(ax.figure).draw()
    box, page = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert page.y0 <= box.y0
    assert page.x0 <= box.x0 < box.x1 <= page.x1
