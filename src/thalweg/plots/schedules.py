"""Learning rates over a run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def schedules(
    rates: Mapping[str, ArrayLike], ax: Axes | None = None, *, step: str = "step", logarithmic: bool = False
) -> Axes:
    """Draw learning rates over the steps, one curve per schedule, each rate level until the next step.

    Parameters
    ----------
    rates: by name, the rates (k,) at the steps 0 … k − 1, as `Schedule.rates(k)` gives them.
    step: what a step is. logarithmic: the axis of the rates, on which a rate of zero leaves a gap.

    Raises InvalidArgument when there is no schedule, or rates are not a vector of at least one number.
    """
    if not rates:
        raise InvalidArgument("rates must hold at least one schedule")
    ax = axes_for(ax)
    drawn: list[Line2D] = []
    # The first are the widest, so that each is seen where they lie on each other, as before a decay; dashes would be
    # torn by the steps.
    widths = np.linspace(1.4 + 0.6 * min(len(rates) - 1, 4), 1.4, len(rates)) if len(rates) > 1 else [1.5]
    for (name, values), color, width in zip(rates.items(), cycle(COLORS.values()), widths, strict=False):
        heights = vector(values, f"rates[{name!r}]").copy()
        if not heights.size:
            raise InvalidArgument(f"rates[{name!r}] must hold at least one number")
        if logarithmic:
            heights[heights <= 0] = np.nan
        # The last rate, too, holds for one step.
        edges, levels = np.arange(heights.size + 1), np.append(heights, heights[-1])
        drawn += ax.plot(edges, levels, color=color, lw=width, drawstyle="steps-post", label=literal(name))
    if logarithmic:
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlabel(step)
    ax.set_ylabel("learning rate η")
    if len(drawn) > 1:
        legend_below(ax, drawn, columns=2)
    return ax
