"""A measured quantity over the checkpoints of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, wrapped
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _FAR = 30, 100


def along_run(
    steps: ArrayLike,
    values: ArrayLike,
    errors: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    label: str = "value",
    step: str = "epoch",
    limits: dict[str, float] | None = None,
) -> Axes:
    """Draw values (m,) over steps (m,), with errors (m,) as a band, and limits by name as dashed lines.

    A value that is not finite leaves a gap, an error that is not finite no band. The axis is logarithmic where all
    values are positive and span a factor above 30. A limit is named at its line, and shown even where it is far away,
    unless that is more than a factor of 100.
    """
    from matplotlib.ticker import MaxNLocator

    at = vector(steps, "steps")
    heights = vector(values, "values", at.size)
    spread = np.zeros_like(heights) if errors is None else vector(errors, "errors", at.size)
    heights = np.where(np.isfinite(heights), heights, np.nan)
    spread = np.where(np.isfinite(spread), spread, 0.0)
    ax = axes_for(ax)
    ax.margins(y=0.12)
    known = heights[np.isfinite(heights)]
    ax.fill_between(at, heights - spread, heights + spread, color=COLORS["blue"], alpha=0.25, lw=0)
    # Few or lonely points would show no line.
    ax.plot(at, heights, "-o", ms=3, lw=1.4, color=COLORS["blue"])
    shown = {
        name: limit for name, limit in (limits or {}).items() if 0 < limit < _FAR * known.max(initial=0.0)
    }
    for name, limit in shown.items():
        ax.axhline(limit, color=COLORS["vermilion"], lw=1.2, ls="--")
        ax.annotate(
            name,
            (1, limit),
            (-2, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=COLORS["vermilion"],
            fontsize="small",
        )
    drawn = np.append(known, list(shown.values()))
    if drawn.size and drawn.min() > 0 and drawn.max() > _WIDE * drawn.min():
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    elif drawn.size and drawn.min() >= 0:
        ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(step)
    ax.set_ylabel(wrapped(label, 28))
    return ax
