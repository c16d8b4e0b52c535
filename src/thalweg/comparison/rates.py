"""Which learning rate to try next, on a grid around the default that grows where the best rate is at its edge."""

from __future__ import annotations

import math
from collections.abc import Mapping

FIRST = (0.0, 1.0, -1.0, 2.0, -2.0)
"""The first trials, in half decades from the default rate."""
FINEST = 0.5
"""The smallest distance of two rates, in half decades."""


def next_place(scores: Mapping[float, float]) -> float:
    """Where to try next, in half decades from the default rate, given the scores so far (the lower the better).

    First the default and two half decades to each side. Then, while the best is at an edge, beyond it: half a
    decade, then decade after decade. Then the wider gap beside the best is halved, down to quarters of a decade:
    below, one seed tells noise from noise. What trials are left widen the grid at the edge nearer to the best, by
    half decades. A score that is not finite is the worst; with nothing but those, lower rates are tried.
    """
    for place in FIRST:
        if place not in scores:
            return place
    places = sorted(scores)
    best = best_place(scores)
    if best == places[0] or not math.isfinite(scores[best]):
        return places[0] - (1 if places[0] == FIRST[-1] else 2)
    if best == places[-1]:
        return best + (1 if best == FIRST[-2] else 2)
    at = places.index(best)
    below, above = best - places[at - 1], places[at + 1] - best
    if max(below, above) > FINEST:
        return best - below / 2 if below > above else best + above / 2
    return places[0] - 1 if best - places[0] <= places[-1] - best else places[-1] + 1


def best_place(scores: Mapping[float, float]) -> float:
    """The place of the lowest score; of equal ones the nearest to the default, and of these the lower."""

    def order(place: float) -> tuple[float, float, float]:
        score = scores[place]
        return score if math.isfinite(score) else math.inf, abs(place), place

    return min(scores, key=order)


def at_edge(scores: Mapping[float, float]) -> bool:
    """Whether the best rate is the lowest or highest one tried."""
    return best_place(scores) in (min(scores), max(scores))


def rate_at(place: float, default: float) -> float:
    """The learning rate so many half decades above `default`."""
    return default * 10 ** (place / 2)
