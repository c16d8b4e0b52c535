"""Loss against step of several optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.optimizer_looks import optimizer_looks
from thalweg.plots.ticks import label_decades
from thalweg.plots.tracks import bundles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DEEPEST = 1e-12
_HIGHEST = 30.0
_LARGEST = 1e100
_BELOW = 1e-300


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
    lowest: the lowest value that the loss can have, which is subtracted: a curve that gets there and stays falls out of
        the axis, with a triangle where. steps: (t,) the steps of the losses.

    The axis ends twelve decades below the highest loss shown and a little above the highest first one:
    what diverges leaves it. An optimizer has its colour in every picture; the smoothest curve is on top.
    Raises InvalidArgument when there is no loss, or for a wrong shape.
    """
    curves = bundles(losses, "losses", None)
    ax = axes_for(ax)
    heights = {label: _finite(curve - (lowest or 0.0)) for label, curve in curves.items()}
    every = np.concatenate([curve.ravel() for curve in heights.values()])
    first = np.concatenate([curve[:, 0] for curve in heights.values()])
    # With the lowest value subtracted, what is below zero is round-off.
    logarithmic = bool((every > 0).any()) and (lowest is not None or not bool((every < 0).any()))
    _limit(ax, every, first, logarithmic)
    looks = optimizer_looks(list(heights))
    for (label, bundle), (color, dashes) in zip(heights.items(), looks, strict=True):
        at = np.arange(bundle.shape[1]) if steps is None else vector(steps, "steps", bundle.shape[1])
        for start, curve in enumerate(bundle):
            shown = curve
            if logarithmic:
                # With the lowest value subtracted, what is not above zero has arrived: it lies below every axis.
                shown = np.where(curve <= 0, np.nan if lowest is None else _BELOW, curve)
            # One entry in the legend for all starts.
            text = None if start else literal(label)
            ax.plot(at, shown, color=color, ls=dashes, label=text, zorder=2 + 0.9 * _smoothness(shown))
            if logarithmic and lowest is not None and curve[-1] <= 0:
                last = np.flatnonzero(~(curve <= 0))
                arrival = at[last[-1] + 1 if last.size else 0]
                mark: dict[str, Any] = {"ms": 7, "mfc": color, "mec": "white", "mew": 0.6}
                ax.plot(arrival, 0, "v", transform=ax.get_xaxis_transform(), clip_on=False, zorder=4, **mark)
    ax.set_xlabel("step")
    ax.set_ylabel("loss" if not lowest else "loss above the lowest")
    ax.margins(x=0.02)
    if legend and len(curves) > 1:
        legend_below(ax, ax.get_legend_handles_labels()[0], columns=3)
    return ax


def _finite(values: Floats) -> Floats:
    # Larger numbers are far off the axis, and overflow in the margins that matplotlib adds.
    return np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), np.nan)


def _smoothness(curve: Floats) -> float:
    """From 0 for a curve (t,) that turns at each step to 1 for one that never does."""
    rises = np.sign(np.diff(curve[np.isfinite(curve)]))
    return 1 - float((rises[1:] * rises[:-1] < 0).mean()) if rises.size > 1 else 1.0


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
        bottom = max(float(positive.min()), _DEEPEST * top)
        margin = max((top / bottom) ** 0.04, 1.1)
        ax.set_ylim(bottom / margin, top * margin)
        label_decades(ax.yaxis)
        return
    reach = _HIGHEST * max(float(np.abs(begun).max()), 1e-300)
    low, high = max(float(known.min()), -reach), min(float(known.max()), reach)
    margin = 0.05 * (high - low) or 1.0
    ax.set_ylim(low - margin, high + margin)
