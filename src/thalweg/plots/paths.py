"""Losses along paths between two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, legend_below
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 100


def paths(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    ax: Axes | None = None,
    *,
    name: str = "loss",
    ends: tuple[str, str] = ("a", "b"),
) -> Axes:
    """Draw for each name the values (p,) over t (p,) from 0 to 1; the axis is logarithmic where they span a factor
    above 100. Values that are not finite leave a gap.
    """
    ax = axes_for(ax)
    drawn: list[object] = []
    everything: list[float] = []
    looks = zip(curves.items(), COLORS.values(), ("-", "--", "-.", ":") * 2, strict=False)
    for (label, (t, values)), color, dashes in looks:
        places = vector(t, f"curves[{label!r}][0]")
        heights = vector(values, f"curves[{label!r}][1]", places.size)
        heights = np.where(np.isfinite(heights), heights, np.nan)
        everything += heights[np.isfinite(heights)].tolist()
        drawn += ax.plot(places, heights, dashes, color=color, label=label)
    if everything and min(everything) > 0 and max(everything) > _WIDE * min(everything):
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], [ends[0], "¼", "½", "¾", ends[1]])
    ax.set_xlabel("along the path")
    ax.set_ylabel(name)
    legend_below(ax, drawn, columns=2)
    return ax
