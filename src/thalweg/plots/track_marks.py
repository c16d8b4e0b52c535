"""The marks on paths: where they start, where they end, where they leave the picture, and known minima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.plots.arrays import Floats
from thalweg.plots.tracks import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 20
_NEAR = 0.015
"""Of the picture, as far apart as ends are taken for one place."""
_BLANK: dict[str, Any] = {"ls": "", "mec": "black", "mew": 0.8, "mfc": "white"}


def mark_ends(ax: Axes, tracks: Sequence[tuple[Track, str]], box: Floats) -> None:
    """Mark the end of every track in its colour: a disc, or a cross where it leaves the picture, the box (2, 2).

    Discs of several colours at one place are drawn as rings around each other, the last one in the middle.
    """
    piles: list[tuple[Floats, str, int]] = []
    for part, color in reversed(tracks):
        if not len(part.points):
            continue
        end = part.points[-1]
        ring = 0
        if not part.leaves:
            below = [
                (other, rank)
                for place, other, rank in piles
                if (np.abs(end - place) < _NEAR * np.ptp(box, axis=1)).all()
            ]
            own = [rank for other, rank in below if other == color]
            ring = own[0] if own else 1 + max((rank for _, rank in below), default=-1)
            piles.append((end, color, ring))
        shape: dict[str, Any] = (
            {"marker": "X", "ms": 9.5} if part.leaves else {"marker": "o", "ms": 8 + 3.0 * ring}
        )
        ax.plot(*end, mfc=color, mec="white", mew=1.0, ls="", clip_on=False, zorder=6 - 0.01 * ring, **shape)


def mark(ax: Axes, tracks: Sequence[Track], minima: Floats) -> None:
    """Mark all starts and the minima (m, 2), and give the legend the keys of these marks and of the ends."""
    starts = np.array([track.points[0] for track in tracks if len(track.points)]).reshape(-1, 2)
    ax.plot(*np.unique(starts, axis=0).T, "s", ms=6.5, label="start", clip_on=False, zorder=8, **_BLANK)
    # Keys alone: the marks themselves have the colours of their paths.
    if not all(track.leaves for track in tracks):
        ax.plot([], [], "o", ms=7, label="end", **_BLANK)
    if any(track.leaves for track in tracks):
        ax.plot([], [], "X", ms=8, label="leaves the picture", **_BLANK)
    if len(minima):
        size = 10 if len(minima) <= _MANY else 5
        label = "known minimum" if len(minima) == 1 else "known minima"
        ax.plot(*minima.T, "*", ms=size, label=label, zorder=7, **_BLANK)
