"""Maps beside each other: one scale for all, and every value where it belongs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.text import Text

from thalweg.errors import InvalidArgument
from thalweg.plots import Panel, side_by_side

X, Y = np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)
COARSE = np.array([-1.0, 0.0, 1.0])
BOWL = 0.1 + X[:, None] ** 2 + Y[None, :] ** 2
STEEP = 5 * BOWL


def contents(figure: Any, kind: type) -> list[Any]:
    """What there is of a kind, for each Axes that has some."""
    found = [[child for child in ax.get_children() if isinstance(child, kind)] for ax in figure.axes]
    return [some for some in found if some]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_all_maps_have_one_logarithmic_scale() -> None:
    figure = side_by_side([Panel("one", X, Y, BOWL), Panel("two", X, Y, STEEP, note="a note")])
    filled = [sets[0] for sets in contents(figure, QuadContourSet)]
    assert len(filled) == 2
    for one in filled:
        assert isinstance(one.norm, LogNorm)
        assert (one.norm.vmin, one.norm.vmax) == pytest.approx((BOWL.min(), STEEP.max()))
        assert np.array_equal(one.levels, filled[0].levels)
    spaces: list[Any] = [ax for ax in figure.axes if ax.name == "3d"]
    assert len(spaces) == 2
    for space in spaces:
        assert space.get_zlim() == pytest.approx((np.log10(BOWL.min()), np.log10(STEEP.max())))
    assert {"one", "two\na note", "loss (logarithmic)"} <= set(texts(figure))


def test_a_map_that_no_level_reaches_draws_no_line_and_no_warning() -> None:
    flat = np.full(BOWL.shape, 1.01) + 1e-3 * BOWL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = side_by_side([Panel("flat", X, Y, flat), Panel("steep", X, Y, 10 * STEEP)])
        figure.canvas.draw()
    assert [len(sets) for sets in contents(figure, QuadContourSet)] == [1, 2]


def test_a_small_range_with_negative_values_is_not_logarithmic() -> None:
    figure = side_by_side([Panel("one", X, Y, BOWL - 0.2)])
    assert not isinstance(contents(figure, QuadContourSet)[0][0].norm, LogNorm)


def test_ratios_are_cells_on_one_linear_scale() -> None:
    ratios = np.arange(9.0).reshape(3, 3) / 10
    unknown = ratios / 4
    unknown[0, 2] = np.nan
    given: dict[str, Any] = {"coarse_alpha": COARSE, "coarse_beta": COARSE}
    figure = side_by_side(
        [Panel("one", X, Y, BOWL, ratios=ratios, **given), Panel("two", X, Y, STEEP, ratios=unknown, **given)]
    )
    meshes: list[Any] = [mesh for (mesh,) in contents(figure, QuadMesh) if mesh.get_array().size == 9]
    assert [mesh.get_clim() for mesh in meshes] == [(0, 0.8)] * 2
    # Rows go up, columns to the right: α is the first axis of the values.
    assert np.array_equal(meshes[0].get_array().reshape(3, 3), ratios.T)
    assert meshes[1].get_array().reshape(3, 3).mask.tolist() == [
        [False] * 3,
        [False] * 3,
        [True, False, False],
    ]
    # Cells that reach beyond the map are cut off at its edge.
    assert meshes[0].axes.get_xlim() == (-1, 1)
    assert "|λmin / λmax|" in texts(figure)


def test_what_is_cut_off_or_missing_is_told() -> None:
    broken = BOWL.copy()
    broken[0, 0] = np.nan
    told = " ".join(texts(side_by_side([Panel("one", X, Y, broken), Panel("two", X, Y, STEEP)])))
    assert "At 1 of 126 points the loss is not a finite number (hatched)." in told


@pytest.mark.parametrize("name", ["one $\\nosuchcommand{"])
def test_names_are_no_formulas(name: str) -> None:
    side_by_side([Panel(name, X, Y, BOWL)], labels=("a$", "$b")).canvas.draw()


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match="panels must be at least one"):
        side_by_side([])
    with pytest.raises(InvalidArgument, match=r"values must have shape \(9, 7\)"):
        side_by_side([Panel("one", X, Y, BOWL.T)])
    with pytest.raises(InvalidArgument, match=r"ratios must have shape \(3, 3\)"):
        side_by_side([Panel("one", X, Y, BOWL, ratios=BOWL, coarse_alpha=COARSE, coarse_beta=COARSE)])
