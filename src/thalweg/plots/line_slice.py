"""Loss and accuracy along a line through parameter space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below, literal, wrapped
from thalweg.plots.heights import LINES_FROM, Heights, logarithmic_from
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def line_slice(
    alpha: ArrayLike,
    loss: ArrayLike,
    accuracy: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    label: str = "α",
    name: str = "loss",
    marks: dict[str, float] | None = None,
) -> Axes:
    """Draw the loss (m,) over coordinates alpha (m,), and the accuracy (m,), a fraction, on an axis at the right.

    Parameters
    ----------
    label: what α runs along. name: of what is drawn in place of the loss.
    marks: coordinates to mark by a vertical line, by name.

    Places without a finite loss are hatched; the axis is logarithmic when positive losses span a factor above 100, but
    for accuracies. Returns the left Axes.
    """
    where = vector(alpha, "alpha")
    losses = vector(loss, "loss", where.size).copy()
    losses[~np.isfinite(losses)] = np.nan
    ax = axes_for(ax)
    drawn: list[object] = list(ax.plot(where, losses, color=COLORS["blue"], label=literal(name)))
    scale = Heights.of(losses, logarithmic_from=logarithmic_from(name, LINES_FROM))
    if scale.logarithmic and not scale.base:
        ax.set_yscale("log")
        ax.set_ylim(bottom=scale.lower * 0.7)
        label_decades(ax.yaxis)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel(wrapped(label, 50))
    ax.set_ylabel(literal(name))
    gaps = _gaps(where, losses)
    for low, high in gaps:
        ax.axvspan(
            low, high, facecolor="none", edgecolor=COLORS["grey"], hatch="////", lw=0, label="not finite"
        )
    drawn += ax.patches[-1:] if gaps else []
    if accuracy is not None:
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        drawn += right.plot(
            where, vector(accuracy, "accuracy", where.size), "--", color=COLORS["vermilion"], label="accuracy"
        )
        right.set_ylim(0, 1.03)
        right.set_ylabel("accuracy (dashed)")
    for name, place in (marks or {}).items():
        ax.axvline(place, color=COLORS["grey"], lw=0.8)
        ax.annotate(
            literal(name),
            (place, 1.01),
            xycoords=ax.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize="small",
        )
    if len(drawn) > 1:
        legend_below(ax, drawn)
    return ax


def _gaps(where: Floats, losses: Floats) -> list[tuple[float, float]]:
    """Stretches without a loss, each from the last point before it to the first behind it."""
    missing = np.concatenate([[False], np.isnan(losses), [False]])
    first, last = np.flatnonzero(missing[1:] & ~missing[:-1]), np.flatnonzero(~missing[1:] & missing[:-1]) - 1
    ends = zip(np.maximum(first - 1, 0), np.minimum(last + 1, where.size - 1), strict=True)
    return [(float(where[i]), float(where[j])) for i, j in ends]
