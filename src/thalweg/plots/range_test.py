"""Loss against a learning rate that grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, literal
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def range_test(
    rates: ArrayLike,
    losses: ArrayLike,
    smoothed: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    marks: Mapping[str, float | None] | None = None,
) -> Axes:
    """Draw minibatch losses (k,) over learning rates (k,) as dots, and the smoothed losses (k,) as a line.

    `marks` are rates to mark by a vertical line, by name; None marks nothing. The axis ends a little above where the
    smoothed loss begins, so that a blow-up leaves it. Raises InvalidArgument for a wrong shape.
    """
    where = vector(rates, "rates")
    heights = vector(losses, "losses", where.size)
    line = heights if smoothed is None else vector(smoothed, "smoothed", where.size)
    ax = axes_for(ax)
    ax.set_xscale("log")
    ax.plot(where, heights, ".", color=COLORS["grey"], ms=3, alpha=0.6)
    if smoothed is not None:
        ax.plot(where, line, color=COLORS["blue"])
    known = line[np.isfinite(line)]
    if known.size:
        low, high = float(known.min()), float(known[0])
        room = 0.35 * max(high - low, 0.1 * abs(high), 1e-12)
        ax.set_ylim(low - room, high + room)
    placed = [(rate, name) for name, rate in (marks or {}).items() if rate is not None]
    for place, (rate, name) in enumerate(sorted(placed)):
        ax.axvline(rate, color=COLORS["vermilion"], lw=0.9)
        # One below the other, so that names of near rates do not meet.
        ax.annotate(
            literal(f"{name} {rate:.2g}"),
            (rate, 0.97 - 0.07 * place),
            (-3, 0),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize="small",
            # Over the line of a rate that is a little lower.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    label_decades(ax.xaxis)
    ax.set_xlabel("learning rate η")
    ax.set_ylabel("minibatch loss")
    return ax
