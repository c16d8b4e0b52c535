"""Names written at the ends of curves, so that no legend has to be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from thalweg.plots.canvas import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = 9.0  # points
_WIDTH = 0.58  # of a letter, in sizes
_HEIGHT = 1.25  # of a line


def end_labels(ax: Axes, ends: Mapping[str, tuple[float, str]], last: float) -> None:
    """Write each name right of where its curve ends, in its colour, making room for it within the Axes.

    Parameters
    ----------
    ends: by name, the height of the curve's end and its colour; one that is not finite, or outside the Axes, is named
        at the nearest edge, at the top for want of a height. last: the x at which curves end, on a linear axis.

    Names that would cover each other are moved apart, with a thin line to the end that is meant. Call it when the
    limits of the vertical axis are final and the Axes have the size they will be drawn in.
    """
    if not ends:
        return
    figure = ax.get_figure(root=True)
    inches = figure.get_size_inches() if figure is not None else (6.4, 4.8)
    box = ax.get_position()
    wide, high = 72 * float(inches[0]) * box.width, 72 * float(inches[1]) * box.height
    letters = max(map(len, ends))
    # Room for the line to a name that was moved, and for the name.
    gap = 14 / wide
    share = max(1 - gap - _WIDTH * _SIZE * letters / wide, 0.4)
    begin, _ = ax.get_xlim()
    ax.set_xlim(begin, begin + (last - begin) / share)
    ax.set_xticks([tick for tick in ax.get_xticks() if begin <= tick <= last])
    ax.spines["bottom"].set_bounds(begin, last)
    # Under the middle of what is left of the axis.
    ax.xaxis.label.set_x(share / 2)

    low, top = sorted(ax.get_ylim())
    to_share = ax.transData + ax.transAxes.inverted()
    heights = [
        float(np.clip(height, low, top)) if np.isfinite(height) else top for height, _ in ends.values()
    ]
    shares = [float(to_share.transform((last, height))[1]) for height in heights]
    for (name, (_, color)), at, place in zip(
        ends.items(), shares, spread(shares, _HEIGHT * _SIZE / high), strict=True
    ):
        ax.annotate(
            literal(name),
            (share, at),
            (share + gap, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            fontsize=_SIZE,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
        )


def spread(places: list[float], gap: float) -> list[float]:
    """The places at least `gap` apart, in the same order, moved by the least sum of squares.

    Neighbours that are too near form a group around its mean, as in isotonic regression.
    """
    order = np.argsort(places, kind="stable")
    groups: list[list[float]] = []
    for rank, i in enumerate(order):
        # Without the gaps below it, a place need only be no lower than the one before.
        groups.append([places[i] - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) >= np.mean(groups[-1]):
            upper = groups.pop()
            groups[-1] += upper
    level = np.concatenate([np.full(len(group), np.mean(group)) for group in groups])
    moved = np.empty(len(places))
    moved[order] = level + gap * np.arange(len(places))
    return moved.tolist()
