"""What is drawn of critical points, and where."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from thalweg.errors import InvalidArgument
from thalweg.plots.critical_points import critical_map, index_against_loss
from thalweg.plots.style import COLORS

KINDS = ["minimum", "saddle", "saddle", "maximum", "undetermined"]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def marks(ax: Axes) -> dict[str, np.ndarray]:
    """The points (m, 2) of each line by its label."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in ax.lines}


def test_loss_against_index() -> None:
    ax = Figure().add_subplot()
    drawn = index_against_loss([0.01, 0.1, 0.5, 2.0, 1.0], [0, 0.2, 0.4, 1, 0.5], KINDS, ax)
    assert drawn is ax
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("share of negative eigenvalues", "loss")
    assert marks(ax)["saddle"].tolist() == [[0.2, 0.1], [0.4, 0.5]]
    assert marks(ax)["minimum"].tolist() == [[0, 0.01]]
    assert legend(ax) == ["minimum", "saddle", "maximum", "undetermined"]
    assert to_hex(ax.lines[0].get_markerfacecolor()) == COLORS["blue"].lower()
    low, high = ax.get_xlim()
    assert low < 0 < 1 < high


def test_losses_of_both_signs_and_no_kinds() -> None:
    ax = index_against_loss([-1.0, 5.0], [0, 0.5])
    assert ax.get_yscale() == "linear"
    assert legend(ax) == []
    assert len(ax.lines) == 1


def test_no_points() -> None:
    ax = index_against_loss([], [])
    assert not ax.lines
    assert ax.get_yscale() == "linear"


def test_points_on_a_map() -> None:
    x, y = np.linspace(-2, 2, 21), np.linspace(-1, 1, 11)
    field = (x[:, None] ** 2 - 1) ** 2 + y[None, :] ** 2
    points = [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]
    ax = Figure().add_subplot()
    drawn = critical_map(x, y, field, points, ["minimum", "minimum", "saddle"], ax, labels=("u", "v"))
    assert drawn is ax
    assert any(isinstance(child, QuadContourSet) for child in ax.get_children())
    assert marks(ax)["minimum"].tolist() == points[:2]
    assert marks(ax)["saddle"].tolist() == points[2:]
    assert legend(ax) == ["minimum", "saddle"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u", "v")


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match="index_fractions must be a sequence of 2 numbers"):
        index_against_loss([1.0, 2.0], [0.0])
    with pytest.raises(InvalidArgument, match="kinds must be one for each of 2 points, got 1"):
        index_against_loss([1.0, 2.0], [0.0, 0.0], ["saddle"])
    with pytest.raises(InvalidArgument, match="kinds must be among minimum, saddle, maximum, undetermined"):
        index_against_loss([1.0], [0.0], ["sadle"])
    with pytest.raises(InvalidArgument, match=r"points must have shape \(t, 2\), got \(1, 3\)"):
        critical_map([0, 1], [0, 1], np.eye(2), [[1, 2, 3]], ["saddle"])
