"""Slices along several random lines, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import grid, vector
from thalweg.plots.canvas import axes_for, legend_below, literal, wrapped
from thalweg.plots.heights import LINES_FROM, Heights, logarithmic_from
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def line_stack(
    alpha: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    name: str = "loss",
    label: str = "α, along random directions",
    band: tuple[float, float] = (0.1, 0.9),
) -> Axes:
    """Draw values (k, m) of k lines over coordinates alpha (m,): each thin, their mean, and a band of quantiles.

    Parameters
    ----------
    name: what the values are. label: what α runs along. band: the quantiles, over the lines, that bound the band.

    Mean and band are left out where a line has no finite value. The axis is logarithmic when positive values span a
    factor above 100, but for accuracies. Raises InvalidArgument for shapes that do not fit and a band that is none.
    """
    where = vector(alpha, "alpha")
    count = len(np.atleast_2d(np.asarray(values)))
    lines = grid(values, "values", (count, where.size))
    low, high = band
    if not 0 <= low < high <= 1:
        raise InvalidArgument(f"band must be two quantiles, ascending, from 0 to 1, got {band}")
    whole = np.isfinite(lines).all(axis=0)
    mean, bottom, top = (np.full(where.size, np.nan) for _ in range(3))
    mean[whole] = lines[:, whole].mean(axis=0)
    bottom[whole], top[whole] = np.quantile(lines[:, whole], band, axis=0)
    ax = axes_for(ax)
    each = ax.plot(where, lines.T, color=COLORS["grey"], lw=0.6, alpha=0.7, label="a direction each")
    filled = ax.fill_between(
        where,
        bottom,
        top,
        color=COLORS["blue"],
        alpha=0.25,
        lw=0,
        label=f"{100 * low:g} to {100 * high:g} % of {count} directions",
    )
    drawn = ax.plot(where, mean, color=COLORS["blue"], label="mean")
    scale = Heights.of(lines, logarithmic_from=logarithmic_from(name, LINES_FROM))
    if scale.logarithmic and not scale.base:
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel(wrapped(label, 50))
    ax.set_ylabel(literal(name))
    legend_below(ax, [*drawn, filled, each[0]])
    return ax
