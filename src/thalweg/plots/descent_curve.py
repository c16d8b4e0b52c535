"""The iterates of several optimizers on the curve of a loss of one coordinate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.optimizer_looks import optimizer_looks
from thalweg.plots.style import COLORS
from thalweg.plots.track_marks import mark, mark_ends
from thalweg.plots.tracks import Track, bundles, track

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def descent_curve(
    alpha: ArrayLike,
    values: ArrayLike,
    paths: Mapping[str, ArrayLike],
    losses: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    name: str = "loss",
    label: str = "x",
    minima: ArrayLike | None = None,
    legend: bool = True,
) -> Axes:
    """Draw values (a,) over ascending coordinates alpha (a,), and on this curve the iterates, joined in their order.

    The curve is shown up to a little above the highest iterate over it; a path ends, with a cross, where it leaves.

    Parameters
    ----------
    paths, losses: by the label of the optimizer, iterates (t,), or (s, t) from s starts, and the losses there.
    minima: (m,) known minima. legend: whether to put one below.

    Raises InvalidArgument when there is no path, or for a wrong shape.
    """
    x = vector(alpha, "alpha")
    curve = vector(values, "values", x.size)
    places, heights = bundles(paths, "paths", None), bundles(losses, "losses", None)
    if {key: track.shape for key, track in places.items()} != {key: h.shape for key, h in heights.items()}:
        raise InvalidArgument("losses must have the labels and shapes of paths")
    box = _box(x, curve, list(places.values()), list(heights.values()))
    wells = vector([] if minima is None else minima, "minima")
    ax = axes_for(ax)
    ax.plot(x, curve, color=COLORS["grey"], lw=1.2, alpha=0.8)
    tracks: list[tuple[Track, str]] = []
    for key, (color, dashes) in zip(places, optimizer_looks(list(places)), strict=True):
        for start, pair in enumerate(zip(places[key], heights[key], strict=True)):
            part = track(np.stack(pair, axis=1), box)
            dots: dict[str, Any] = {"marker": "o", "ms": 4.5, "mec": "white", "mew": 0.4, "zorder": 4}
            # One entry in the legend for all starts.
            text = None if start else literal(key)
            ax.plot(*part.points.T, color=color, ls=dashes, lw=1.0, label=text, **dots)
            tracks.append((part, color))
    mark_ends(ax, tracks, box)
    mark(ax, [part for part, _ in tracks], np.stack([wells, np.interp(wells, x, curve)], axis=1))
    ax.set_xlim(*box[0])
    ax.set_ylim(*box[1])
    ax.set_xlabel(literal(label))
    ax.set_ylabel(literal(name))
    if legend:
        legend_below(ax, ax.get_legend_handles_labels()[0], columns=3)
    return ax


def _box(x: Floats, curve: Floats, places: list[Floats], heights: list[Floats]) -> Floats:
    """The ranges of x and of what is shown of the curve (2, 2): up to the highest iterate that lies over it."""
    finite = curve[np.isfinite(curve)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    over = [h[(p >= x[0]) & (p <= x[-1]) & (h <= high)] for p, h in zip(places, heights, strict=True)]
    top = max((float(part.max()) for part in over if part.size), default=high)
    top = top if top > low else high
    margin = 0.12 * (top - low) or 1.0
    return np.array([[x[0], x[-1]], [low - margin, top + margin]])
