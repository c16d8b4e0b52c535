"""The scale of activations and gradients along the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, literal
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NAMES = 16
_MOST_LETTERS = 48
"""As many as stand next to each other."""


def signal_propagation(
    activations: ArrayLike,
    gradients: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    first_bad: str | None = None,
) -> Axes:
    """Draw the root mean square of activations (k,) and of gradients (k,) per layer on a logarithmic axis.

    Parameters
    ----------
    activations, gradients: one value per layer in order of the forward pass; zeros and values that are not finite
        have no logarithm and leave a gap.
    names: of the k layers, written below when there are at most sixteen; numbers otherwise.
    first_bad: the layer, among `names`, that a line marks.

    Raises InvalidArgument when lengths differ or `first_bad` is none of the names.
    """
    forward = vector(activations, "activations")
    count = forward.size
    if names is not None and len(names) != count:
        raise InvalidArgument(f"names must be as many as activations, {count}, got {len(names)}")
    if first_bad is not None and first_bad not in (names or ()):
        raise InvalidArgument(f"first_bad must be one of the names, got {first_bad!r}")
    backward = None if gradients is None else vector(gradients, "gradients", count)
    ax = axes_for(ax)
    places = np.arange(1, count + 1)
    drawn = ax.plot(places, _positive(forward), "o-", ms=4, color=COLORS["blue"], label="activations")
    if backward is not None:
        drawn += ax.plot(
            places, _positive(backward), "s--", ms=4, color=COLORS["vermilion"], label="gradients"
        )
    ax.set_yscale("log")
    label_decades(ax.yaxis)
    if names is not None and first_bad is not None:
        at = places[list(names).index(first_bad)]
        drawn.append(
            ax.axvline(at, color=COLORS["grey"], lw=1, ls=":", label=f"first bad layer: {literal(first_bad)}")
        )
    _tick(ax, places, names)
    ax.set_ylabel("root mean square")
    # Above: slanted names take an unknown height below.
    ax.legend(handles=drawn, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(drawn))
    return ax


def _positive(values: Floats) -> Floats:
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _tick(ax: Axes, places: np.ndarray, names: Sequence[str] | None) -> None:
    if names is not None and len(names) <= _MOST_NAMES:
        slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        level = max(map(len, names), default=0) * len(names) <= _MOST_LETTERS
        ax.set_xticks(places, [literal(name) for name in names], **({} if level else slanted))
        return
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("layer")
