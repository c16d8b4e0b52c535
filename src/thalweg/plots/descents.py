"""The paths of several optimizers on the contours of a surface of two coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import grid, points, vector
from thalweg.plots.canvas import axes_for, legend_below, literal, wrapped
from thalweg.plots.ground import PALE, ground, shallow
from thalweg.plots.heights import Heights
from thalweg.plots.optimizer_looks import Look, optimizer_looks
from thalweg.plots.track_marks import mark, mark_ends
from thalweg.plots.tracks import Track, bundles, length, track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STRETCHED = 3.0
"""The ratio of the ranges of x and y up to which both have one scale."""

_WIDEST, _THINNEST = 2.4, 1.3
"""Lines of the longest and of the shortest path, in points."""


def descents(
    alpha: ArrayLike,
    beta: ArrayLike,
    values: ArrayLike,
    paths: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    name: str = "loss",
    labels: tuple[str, str] = ("x", "y"),
    minima: ArrayLike | None = None,
    heights: Heights | None = None,
    legend: bool = True,
    colorbar: bool = True,
) -> Axes:
    """Draw paths over values (a, b) at coordinates alpha (a,), to the right, and beta (b,), up.

    Parameters
    ----------
    paths: by the label of the optimizer, iterates (t, 2), or (s, t, 2) from s starts. A path ends, with a cross,
        where it leaves the map for good or where an iterate is not finite. Dots are iterates, those that have room.
    minima: (m, 2) known minima. heights: the colour scale, by default one of four decades at most. legend: whether
        to put one below. colorbar: whether to put one at the right; contour lines tell their values without it.

    An optimizer has its colour in every picture. The longest path lies at the bottom and has the widest line, so that
    of paths that coincide each is seen.

    Raises InvalidArgument when there is no path, or for a wrong shape.
    """
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    field, wells = grid(values, "values", (x.size, y.size)), points(minima, "minima")
    box = np.array([[x[0], x[-1]], [y[0], y[-1]]])
    tracks = {
        label: [track(path, box) for path in bundle] for label, bundle in bundles(paths, "paths", 2).items()
    }
    ax = axes_for(ax)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    if 1 / MOST_STRETCHED < np.ptp(y) / np.ptp(x) < MOST_STRETCHED:
        # A round bowl is to look round.
        ax.set_aspect("equal", adjustable="box")
    gap = np.full((1, 2), np.nan)
    covered = np.concatenate(
        [piece for bundle in tracks.values() for part in bundle for piece in (part.points, gap)]
    )
    ground(ax, x, y, field, heights or shallow(field), name, covered, PALE, colorbar=colorbar)
    lengths = [sum(length(part, box) for part in bundle) for bundle in tracks.values()]
    looks = optimizer_looks(list(tracks))
    # The place of each bundle among the others, 0 for the longest.
    order = np.argsort(lengths)[::-1]
    ranks = np.argsort(order)
    for (label, bundle), look, rank in zip(tracks.items(), looks, ranks.tolist(), strict=True):
        _draw(ax, label, bundle, look, rank, len(tracks))
    drawn = [(part, looks[i][0]) for i in order for part in list(tracks.values())[i]]
    mark_ends(ax, drawn, box)
    mark(ax, [part for bundle in tracks.values() for part in bundle], wells)
    ax.locator_params(nbins=7)
    ax.set_xlabel(wrapped(labels[0], 42))
    ax.set_ylabel(wrapped(labels[1]))
    if legend:
        legend_below(ax, ax.get_legend_handles_labels()[0], columns=3)
    return ax


def _draw(ax: Axes, label: str, bundle: list[Track], look: Look, rank: int, count: int) -> None:
    color, dashes = look
    width = _THINNEST + (_WIDEST - _THINNEST) * (count - 1 - rank) / max(count - 1, 1)
    dots: dict[str, Any] = {"marker": "o", "ms": width + 1.8, "mec": "white", "mew": 0.3, "markevery": 0.02}
    for place, part in enumerate(bundle):
        line: dict[str, Any] = {"solid_joinstyle": "round"}
        # Under the lines of all paths, of which none is to be covered.
        ax.plot(*part.points.T, color="white", lw=width + 1.5, alpha=0.8, zorder=3.5, **line)
        # One entry in the legend for all starts.
        text = literal(label) if place == 0 else None
        at = 4 + rank / count
        ax.plot(*part.points.T, color=color, ls=dashes, lw=width, label=text, zorder=at, **dots, **line)
