"""Loss against step of several optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.ticks import label_decades
from thalweg.plots.tracks import bundles, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DEEPEST = 1e-12
_HIGHEST = 30.0
_LARGEST = 1e100


def descent_losses(
    losses: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    lowest: float | None = None,
    steps: ArrayLike | None = None,
    legend: bool = True,
) -> Axes:
    """Draw losses over the steps, one colour per optimizer, on a logarithmic axis where they are positive.

    Parameters
    ----------
    losses: by label, losses (t,), or (s, t) from s starts; values that are not finite leave a gap.
    lowest: the lowest value that the loss can have, which is subtracted. steps: (t,) the steps of the losses.

    The axis ends twelve decades below the highest loss shown and a little above the highest first one:
    what diverges leaves it. Raises InvalidArgument when there is no loss, or for a wrong shape.
    """
    curves = bundles(losses, "losses", None)
    ax = axes_for(ax)
    heights = {label: _finite(curve - (lowest or 0.0)) for label, curve in curves.items()}
    every = np.concatenate([curve.ravel() for curve in heights.values()])
    first = np.concatenate([curve[:, 0] for curve in heights.values()])
    # With the lowest value subtracted, what is below zero is round-off.
    logarithmic = bool((every > 0).any()) and (lowest is not None or not bool((every < 0).any()))
    for (label, bundle), (color, dashes) in zip(heights.items(), looks(len(heights)), strict=True):
        at = np.arange(bundle.shape[1]) if steps is None else vector(steps, "steps", bundle.shape[1])
        for start, curve in enumerate(bundle):
            shown = np.where(curve > 0, curve, np.nan) if logarithmic else curve
            # One entry in the legend for all starts.
            ax.plot(at, shown, color=color, ls=dashes, label=None if start else literal(label))
    _limit(ax, every, first, logarithmic)
    ax.set_xlabel("step")
    ax.set_ylabel("loss" if not lowest else "loss above the lowest")
    ax.margins(x=0.02)
    if legend and len(curves) > 1:
        legend_below(ax, ax.get_legend_handles_labels()[0], columns=3)
    return ax


def _finite(values: Floats) -> Floats:
    # Larger numbers are far off the axis, and overflow in the margins that matplotlib adds.
    return np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), np.nan)


def _limit(ax: Axes, every: Floats, first: Floats, logarithmic: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    known = every[np.isfinite(every)]
    begun = first[np.isfinite(first)]
    if not known.size or not begun.size:
        return
    if logarithmic:
        ax.set_yscale("log")
        positive = known[known > 0]
        top = min(float(positive.max()), _HIGHEST * max(float(begun.max()), float(positive.min())))
        ax.set_ylim(max(float(positive.min()), _DEEPEST * top) / 2, top * 2)
        label_decades(ax.yaxis)
        return
    reach = _HIGHEST * max(float(np.abs(begun).max()), 1e-300)
    low, high = max(float(known.min()), -reach), min(float(known.max()), reach)
    margin = 0.05 * (high - low) or 1.0
    ax.set_ylim(low - margin, high + margin)
