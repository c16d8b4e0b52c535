"""Where the lines of a contour map carry their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.plots.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.path import Path

_SMALLEST = 0.22
_CLEARANCE = 0.07
_STRIDE = 0.382
_TRIES = 8


def label_places(lines: Sequence[Path], extent: Floats, track: Floats) -> list[tuple[float, float]]:
    """One point (x, y) on the largest piece of each line whose larger side is at least 0.22 of `extent` (2,).

    Smaller rings and corners have no room for a number, and lines in a valley narrower than the grid fall
    apart into many pieces. The places go around the rings in steps of the golden section, so that the labels of
    neighbouring lines do not meet, and further where they would lie on the path `track` (t, 2).
    """
    covered = _dense(track)
    found: list[tuple[float, float]] = []
    for i, line in enumerate(lines):
        pieces = _pieces(line)
        sides = [float((np.ptp(piece, axis=0) / extent).max()) for piece in pieces]
        if sides and max(sides) >= _SMALLEST:
            piece = pieces[int(np.argmax(sides))]
            # Away from the ends, which lie on the frame where the line is no ring.
            shares = 0.15 + 0.7 * ((0.5 + (i + np.arange(_TRIES)) * _STRIDE) % 1)
            places = piece[(shares * (len(piece) - 1)).astype(int)]
            gaps = np.abs((places[:, None] - covered) / extent).max(axis=2).min(axis=1, initial=1.0)
            clear = np.flatnonzero(gaps > _CLEARANCE)
            x, y = places[clear[0] if clear.size else gaps.argmax()]
            found.append((float(x), float(y)))
    return found


def _dense(track: Floats) -> Floats:
    """The path with points between its own, so close that none of its lines passes unseen."""
    if len(track) < 2:
        return track
    own = np.arange(len(track))
    between = np.linspace(0, len(track) - 1, 20 * len(track))
    return np.stack([np.interp(between, own, track[:, 0]), np.interp(between, own, track[:, 1])], axis=1)


def _pieces(line: Path) -> list[Floats]:
    vertices = np.asarray(line.vertices)
    if line.codes is None or not vertices.size:
        return []
    starts = np.flatnonzero(np.equal(line.codes, line.MOVETO))
    return [piece for piece in np.split(vertices, starts[1:]) if len(piece) > 2]
