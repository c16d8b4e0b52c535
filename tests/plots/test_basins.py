from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.optim.basins import DIVERGED, UNSETTLED
from thalweg.optim.basins import basins as mapped
from thalweg.plots import COLORS, basins
from thalweg.plots.basins import UNDECIDED

X, Y = np.linspace(0, 3, 4), np.linspace(0, 1, 2)
LABEL = np.array([[0, 0, 1, -1], [0, 0, 1, -2]])
TARGETS = [[0.5, 0.5], [2.0, 0.5], [9.0, 9.0]]


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_labels_are_those_of_basins() -> None:
    assert set(UNDECIDED) == {UNSETTLED, DIVERGED}
    assert (UNDECIDED[UNSETTLED][0], UNDECIDED[DIVERGED][0]) == ("unsettled", "diverged")


def test_every_start_is_a_pixel_of_its_targets_colour() -> None:
    ax = Figure().add_subplot()
    assert basins(X, Y, LABEL, TARGETS, ["left $", "right", "far"], ax) is ax
    (image,) = ax.images
    pixels = np.asarray(image.get_array())
    blue, vermilion = to_rgb(COLORS["blue"]), to_rgb(COLORS["vermilion"])
    assert pixels[0, 0].tolist() == pytest.approx(blue)
    assert pixels[1, 2].tolist() == pytest.approx(vermilion)
    # Greys, and two of them.
    unsettled, diverged = pixels[0, 3], pixels[1, 3]
    assert np.ptp(unsettled) == np.ptp(diverged) == 0
    assert unsettled[0] != diverged[0]
    # The first row is at the bottom, and pixels are centred on their starts.
    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx([-0.5, 3.5, -0.5, 1.5])
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 3), (0, 1))
    # Largest first; what is reached by no start is neither named nor marked.
    assert legend(ax) == [r"left \$: 50.0 %", "right: 25.0 %", "unsettled: 12.5 %", "diverged: 12.5 %"]
    (stars,) = ax.lines
    assert stars.get_xydata().tolist() == TARGETS[:2]
    ax.figure.draw_without_rendering()


def test_targets_are_named_by_their_coordinates() -> None:
    assert legend(basins(X, Y, np.zeros((2, 4), int), TARGETS)) == ["(0.5, 0.5): 100.0 %"]


def test_a_basin_that_is_not_seen_is_not_said_to_be_empty() -> None:
    label = np.zeros((2, 1000), int)
    label[0, 0] = 1
    assert legend(basins(np.arange(1000.0), Y, label, TARGETS))[1] == "(2, 0.5): below 0.1 %"


def test_many_targets_have_colours_of_their_own_and_a_short_legend() -> None:
    count = 30
    label = np.arange(count)[None].repeat(2, axis=0)
    targets = np.stack([np.arange(count), np.full(count, 0.5)], axis=1)
    ax = basins(np.arange(float(count)), Y, label, targets)
    pixels = np.asarray(ax.images[0].get_array())[0]
    assert len({tuple(pixel) for pixel in pixels.tolist()}) == count
    assert len(legend(ax)) == 9
    assert legend(ax)[-1] == "22 others: 73.3 %"


def test_all_lost() -> None:
    ax = basins(X, Y, np.full((2, 4), DIVERGED), np.empty((0, 2)))
    assert legend(ax) == ["diverged: 100.0 %"]
    ax.figure.draw_without_rendering()


def test_a_basin_map_with_its_surface() -> None:
    surface = surfaces.himmelblau()
    found = mapped(surface, "gradient_descent", lr=0.01, steps=100, resolution=20)
    values = np.add.outer(found.y.numpy() ** 2, found.x.numpy() ** 2)
    ax = basins(found.x, found.y, found.label, [target.location for target in found.targets], values=values)
    shares = found.shares()
    assert [entry.rsplit(": ", 1)[1] for entry in legend(ax)] == [f"{100 * s:.1f} %" for s in shares.values()]
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": LABEL.T}, r"label must be integers of shape \(2, 4\), got int64 of \(4, 2\)"),
        ({"label": LABEL / 2}, "got float64"),
        ({"label": LABEL + 2}, "label must be from -2 to 2, the last of the targets"),
        ({"label": LABEL - 1}, "label must be from -2 to 2"),
        ({"names": ["one"]}, "names must be as many as targets, 3, got 1"),
        ({"targets": [1.0, 2.0]}, r"targets must have shape"),
        ({"values": np.zeros((4, 2))}, r"values must have shape \(2, 4\)"),
    ],
)
def test_wrong_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        basins(**({"x": X, "y": Y, "label": LABEL, "targets": TARGETS} | changes))
