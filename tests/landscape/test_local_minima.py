"""K43: a wider network has many minima too, but nearly all are good."""

from __future__ import annotations

from itertools import pairwise

from claims.local_minima import TRIVIAL, students


def test_minima_are_alike_and_lower_with_width() -> None:
    """Measured, mean ± sd over 16 seeds: 0.0485 ± 6e-12, 0.0095 ± 3e-6, 0.0023 ± 0.0002, 0.0008 ± 0.0004 and, of width
    16, 0.0001 ± 0.0001; relative to the mean the sd grows with width, from 0 to 0.8.
    """
    means, spreads = [], []
    for width in (1, 2, 4, 8):
        losses, slopes = students(width)
        assert float(slopes.max()) < 2e-3
        means.append(float(losses.mean()))
        spreads.append(float(losses.std()))
    assert all(wider < 0.6 * narrower for narrower, wider in pairwise(means))
    assert max(spreads) < 0.01 * TRIVIAL
