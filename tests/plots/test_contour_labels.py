from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.path import Path

from thalweg import surfaces
from thalweg.optim.descent import descend
from thalweg.plots import race
from thalweg.plots.contour_labels import label_places

BOX = np.array([[0.0, 2.0], [0.0, 10.0]])
NONE = np.empty((0, 2))


def level(height: float) -> Path:
    """A line across the box."""
    x = np.linspace(0, 2, 101)
    return Path(np.stack([x, np.full(101, height)], axis=1), [Path.MOVETO] + [Path.LINETO] * 100)


def test_a_line_alone_is_labelled_on_itself_away_from_the_frame() -> None:
    ((x, y),) = label_places([level(5.0)], BOX, NONE)
    assert y == pytest.approx(5)
    assert 0.2 < x < 1.8


def test_lines_with_no_room_between_them_have_no_labels() -> None:
    # A hundredth of the map apart, a third of a letter.
    assert label_places([level(5.0), level(5.1), level(5.2), level(8.0)], BOX, NONE)[0][1] == pytest.approx(8)
    # Nor has a line at the frame.
    assert label_places([level(9.9)], BOX, NONE) == []


def test_a_path_along_the_line_leaves_no_room_and_a_gap_between_paths_does() -> None:
    whole = np.array([[0.0, 5.0], [2.0, 5.0]])
    assert label_places([level(5.0)], BOX, whole) == []
    parted = np.array([[0.0, 5.0], [0.7, 5.0], [np.nan, np.nan], [1.3, 5.0], [2.0, 5.0]])
    ((x, _),) = label_places([level(5.0)], BOX, parted)
    # Beyond 0.07 of the width from either.
    assert 0.84 < x < 1.16


def test_where_labels_would_meet_the_second_line_has_none() -> None:
    # A twentieth of the map apart, and free of paths in the middle alone.
    parted = np.array([[0.0, 5.25], [0.7, 5.25], [np.nan, np.nan], [1.3, 5.25], [2.0, 5.25]])
    assert [y for _, y in label_places([level(5.0), level(5.5)], BOX, parted)] == pytest.approx([5.0])
    assert len(label_places([level(5.0), level(5.5)], BOX, NONE)) == 2


@pytest.mark.parametrize(
    ("surface", "start"),
    [
        (surfaces.rosenbrock(), [-1.5, 2.0]),
        (surfaces.quadratic(1000), [-1.5, 1.2]),
        (surfaces.beale(), [1.0, 1.0]),
    ],
)
def test_no_two_labels_of_a_map_overlap(surface: surfaces.Surface, start: list[float]) -> None:
    figure = race(surface, {"adam": descend(surface, "adam", start, steps=100, lr=0.1)})
    figure.draw_without_rendering()
    ax = figure.axes[0]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) >= 2
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    frame = ax.get_window_extent()
    assert all(frame.x0 < box.x0 and box.x1 < frame.x1 for box in boxes)
    assert all(frame.y0 < box.y0 and box.y1 < frame.y1 for box in boxes)
