"""Critical points: loss against index, and where they lie on a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import points as checked_points
from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, legend_below
from thalweg.plots.contours import contours
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS: dict[str, tuple[str, str, str]] = {
    "minimum": ("v", COLORS["blue"], "minimum"),
    "saddle": ("X", COLORS["orange"], "saddle"),
    "maximum": ("^", COLORS["vermilion"], "maximum"),
    "undetermined": ("o", "white", "undetermined"),
}


def index_against_loss(
    losses: ArrayLike,
    index_fractions: ArrayLike,
    kinds: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the losses (m,) of critical points, up, over the share (m,) of their Hessians' eigenvalues that is negative.

    `kinds` are "minimum", "saddle", "maximum" or "undetermined". The losses are on a logarithmic axis where all are
    positive and span a factor above 10.

    Raises InvalidArgument for an unknown kind, or for a wrong shape.
    """
    heights = vector(losses, "losses")
    shares = vector(index_fractions, "index_fractions", heights.size)
    ax = axes_for(ax)
    names = ["saddle"] * heights.size if kinds is None else _checked(kinds, heights.size)
    drawn = _marks(ax, np.stack([shares, heights], axis=1), names)
    if heights.size and heights.min() > 0 and heights.max() > 10 * heights.min():
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    # Room for the marks at an index of zero.
    widest = float(shares.max(initial=0.0)) or 1.0
    ax.set_xlim(-0.04 * widest, 1.04 * widest)
    ax.set_xlabel("share of negative eigenvalues")
    ax.set_ylabel("loss")
    if kinds is not None:
        legend_below(ax, drawn)
    return ax


def critical_map(
    alpha: ArrayLike,
    beta: ArrayLike,
    values: ArrayLike,
    points: ArrayLike,
    kinds: Sequence[str],
    ax: Axes | None = None,
    *,
    labels: tuple[str, str] = ("x", "y"),
    **options: Any,
) -> Axes:
    """Draw the contours of values (a, b) over alpha (a,) and beta (b,), and critical points (m, 2) marked by kind.

    `kinds` are "minimum", "saddle", "maximum" or "undetermined"; `options` are those of `contours`.

    Raises InvalidArgument for an unknown kind, or for a wrong shape.
    """
    places = checked_points(points, "points")
    names = _checked(kinds, len(places))
    ax = contours(alpha, beta, values, ax, labels=labels, point=None, **options)
    legend_below(ax, _marks(ax, places, names))
    return ax


def _marks(ax: Axes, places: Any, names: Sequence[str]) -> list[Any]:
    drawn: list[Any] = []
    for kind, (marker, color, label) in _LOOKS.items():
        chosen = places[[name == kind for name in names]]
        if len(chosen):
            drawn += ax.plot(
                *chosen.T, marker, ms=7, mfc=color, mec="black", mew=0.6, ls="", label=label, zorder=6
            )
    return drawn


def _checked(kinds: Sequence[str], size: int) -> Sequence[str]:
    if len(kinds) != size:
        raise InvalidArgument(f"kinds must be one for each of {size} points, got {len(kinds)}")
    for kind in kinds:
        if kind not in _LOOKS:
            raise InvalidArgument(f"kinds must be among {', '.join(_LOOKS)}, got {kind!r}")
    return kinds
