"""Where the lines of a contour map carry their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.plots.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.path import Path

_SMALLEST = 0.22
_FROM_TRACK = 0.07
_FROM_LABELS = 0.1
_FROM_LINES = 0.028
_FROM_FRAME = 0.04
"""Distances in sizes of the map: a number is about 0.03 high and 0.08 wide."""
_STRIDE = 0.382
_TRIES = 21
_MOST = 20_000


def label_places(lines: Sequence[Path], box: Floats, track: Floats) -> list[tuple[float, float]]:
    """One point (x, y) on the largest piece of each line, if 0.22 of the map, the box (2, 2), wide or high.

    Smaller rings and corners have no room for a number, and lines in a valley narrower than the grid fall
    apart into many pieces. The places go around the rings in steps of the golden section, further where they would
    lie on the path `track` (t, 2), on the frame, on another line or on the number of one. A line that has no free place
    has no number. A row of NaN in the track parts one path from the next.
    """
    extent = np.ptp(box, axis=1)
    frame = (box / extent[:, None]).T
    covered = _dense(track) / extent
    every = [np.asarray(line.vertices).reshape(-1, 2) / extent for line in lines]
    found: list[Floats] = []
    for i, line in enumerate(lines):
        pieces = [piece / extent for piece in _pieces(line)]
        sides = [float(np.ptp(piece, axis=0).max()) for piece in pieces]
        if not sides or max(sides) < _SMALLEST:
            continue
        piece = pieces[int(np.argmax(sides))]
        # Away from the ends, which lie on the frame where the line is no ring.
        shares = 0.15 + 0.7 * ((0.5 + (i + np.arange(_TRIES)) * _STRIDE) % 1)
        places = piece[(shares * (len(piece) - 1)).astype(int)]
        others = np.concatenate([np.empty((0, 2)), *every[:i], *every[i + 1 :]])
        free = (
            (_gaps(places, covered) > _FROM_TRACK)
            & (_gaps(places, np.reshape(found, (-1, 2))) > _FROM_LABELS)
            & (_gaps(places, others) > _FROM_LINES)
            & (np.abs(places[:, None] - frame).min(axis=(1, 2)) > _FROM_FRAME)
        )
        if free.any():
            found.append(places[free.argmax()])
    return [(float(x), float(y)) for x, y in (place * extent for place in found)]


def _gaps(places: Floats, things: Floats) -> Floats:
    """The distance of each place (k, 2) from the nearest thing (m, 2), the larger of the two coordinates' distances."""
    return np.abs(places[:, None] - things).max(axis=2).min(axis=1, initial=1.0)


def _dense(track: Floats) -> Floats:
    """The paths with points between their own, so close that none of their lines passes unseen."""
    if len(track) < 2:
        return track[np.isfinite(track).all(axis=1)]
    own = np.arange(len(track))
    between = np.linspace(0, len(track) - 1, min(20 * len(track), _MOST))
    dense = np.stack([np.interp(between, own, track[:, 0]), np.interp(between, own, track[:, 1])], axis=1)
    return dense[np.isfinite(dense).all(axis=1)]


def _pieces(line: Path) -> list[Floats]:
    vertices = np.asarray(line.vertices)
    if line.codes is None or not vertices.size:
        return []
    starts = np.flatnonzero(np.equal(line.codes, line.MOVETO))
    return [piece for piece in np.split(vertices, starts[1:]) if len(piece) > 2]
