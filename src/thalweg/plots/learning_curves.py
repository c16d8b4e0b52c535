"""Loss and accuracy over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.errors import InvalidArgument
from thalweg.plots.canvas import axes_for, legend_below
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_LOSSES = {"loss": ("training loss", "blue"), "test_loss": ("test loss", "vermilion")}
_ACCURACIES = {"accuracy": ("training accuracy", "blue"), "test_accuracy": ("test accuracy", "vermilion")}


def learning_curves(
    rows: Sequence[Mapping[str, float]], ax: Axes | None = None, *, step: str = "epoch"
) -> Axes:
    """Draw losses (solid, left) and accuracies (dashed, right) over steps.

    Parameters
    ----------
    rows: one mapping per step with "step" and any of "loss", "test_loss", "accuracy", "test_accuracy"
        (fractions); a value that is missing or not finite leaves a gap. step: what a step is.

    Returns the left Axes; the loss axis is logarithmic when the losses span a factor above 30.
    Raises InvalidArgument when no row holds a loss.
    """
    if not any("loss" in row or "test_loss" in row for row in rows):
        raise InvalidArgument("rows must hold at least one 'loss' or 'test_loss'")
    from matplotlib.ticker import MaxNLocator

    ax = axes_for(ax)
    drawn = _draw(ax, rows, _LOSSES, "-")
    finite = np.concatenate([np.asarray(line.get_ydata()) for line in drawn])
    positive = finite[np.isfinite(finite) & (finite > 0)]
    if positive.size and positive.size == np.isfinite(finite).sum() and positive.max() > 30 * positive.min():
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(step)
    ax.set_ylabel("loss")
    if any(name in row for row in rows for name in _ACCURACIES):
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        drawn += _draw(right, rows, _ACCURACIES, "--")
        right.set_ylim(0, 1.03)
        right.set_ylabel("accuracy (dashed)")
    if len(drawn) > 1:
        legend_below(ax, drawn, columns=2)
    return ax


def _draw(
    ax: Axes, rows: Sequence[Mapping[str, float]], quantities: Mapping[str, tuple[str, str]], dashes: str
) -> list[Line2D]:
    steps = [row["step"] for row in rows]
    drawn: list[Line2D] = []
    for key, (label, color) in quantities.items():
        if any(key in row for row in rows):
            values = np.array([row.get(key, np.nan) for row in rows], dtype=np.float64)
            values[~np.isfinite(values)] = np.nan
            drawn += ax.plot(steps, values, dashes, color=COLORS[color], label=label)
    return drawn
