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
_BLANK: dict[str, Any] = {"ls": "", "mec": "black", "mew": 0.8, "mfc": "white"}


def mark_end(ax: Axes, track: Track, color: str) -> None:
    """Mark the end of a track in its colour: a disc, or a cross where it leaves the picture."""
    if len(track.points):
        end: dict[str, Any] = {"marker": "X", "ms": 9.5} if track.leaves else {"marker": "o", "ms": 8}
        ax.plot(*track.points[-1], mfc=color, mec="white", mew=1.0, ls="", clip_on=False, zorder=6, **end)


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
