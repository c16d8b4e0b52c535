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
from thalweg.plots.track_marks import mark, mark_end
from thalweg.plots.tracks import Dashes, Track, bundles, looks, track

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
) -> Axes:
    """Draw paths over values (a, b) at coordinates alpha (a,), to the right, and beta (b,), up.

    Parameters
    ----------
    paths: by the label of the optimizer, iterates (t, 2), or (s, t, 2) from s starts. A path ends, with a cross,
        where it leaves the map for good or where an iterate is not finite. Dots are iterates, those that have room.
    minima: (m, 2) known minima. heights: the colour scale, by default one of four decades at most. legend: whether
        to put one below.

    Raises InvalidArgument when there is no path, or for a wrong shape.
    """
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    field, wells = grid(values, "values", (x.size, y.size)), points(minima, "minima")
    box = np.array([[x[0], x[-1]], [y[0], y[-1]]])
    tracks = {
        label: [track(path, box) for path in bundle] for label, bundle in bundles(paths, "paths", 2).items()
    }
    ax = axes_for(ax)
    covered = np.concatenate([part.points for bundle in tracks.values() for part in bundle])
    ground(ax, x, y, field, heights or shallow(field), name, covered, PALE)
    for (label, bundle), look in zip(tracks.items(), looks(len(tracks)), strict=True):
        _draw(ax, label, bundle, look)
    mark(ax, [part for bundle in tracks.values() for part in bundle], wells)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    if 1 / 3 < np.ptp(y) / np.ptp(x) < 3:
        # A round bowl is to look round.
        ax.set_aspect("equal", adjustable="box")
    ax.locator_params(nbins=7)
    ax.set_xlabel(wrapped(labels[0], 42))
    ax.set_ylabel(wrapped(labels[1]))
    if legend:
        legend_below(ax, ax.get_legend_handles_labels()[0], columns=3)
    return ax


def _draw(ax: Axes, label: str, bundle: list[Track], look: tuple[str, Dashes]) -> None:
    color, dashes = look
    for place, part in enumerate(bundle):
        line: dict[str, Any] = {"solid_joinstyle": "round"}
        # Under the lines of all paths, of which none is to be covered.
        ax.plot(*part.points.T, color="white", lw=3.0, alpha=0.8, zorder=3.5, **line)
        dots: dict[str, Any] = {"marker": "o", "ms": 3.2, "mec": "white", "mew": 0.3, "markevery": 0.018}
        # One entry in the legend for all starts.
        text = literal(label) if place == 0 else None
        ax.plot(*part.points.T, color=color, ls=dashes, lw=1.5, label=text, zorder=4, **dots, **line)
        mark_end(ax, part, color)
