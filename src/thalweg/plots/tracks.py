"""Paths as they can be drawn: without what is not finite, not too far away, and where they leave the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats

_FAR = 1e6


def bundles(paths: Mapping[str, ArrayLike], name: str, size: int | None) -> dict[str, Floats]:
    """By label, paths (s, t, size) from s starts; given as that or (t, size), without the last axis for `size` None.

    Raises InvalidArgument for another shape, and when there is no path or one without a point.
    """
    if not paths:
        raise InvalidArgument(f"{name} must hold at least one path")
    last = () if size is None else (size,)
    found: dict[str, Floats] = {}
    for label, given in paths.items():
        array = np.asarray(given, dtype=np.float64)
        if array.ndim == 1 + len(last):
            array = array[None]
        if array.ndim != 2 + len(last) or array.shape[2:] != last or not array.size:
            wanted = ", ".join(["t", *map(str, last)])
            raise InvalidArgument(
                f"{name}[{label!r}] must have shape ({wanted}{',' if not last else ''}) or (s, {wanted}), "
                f"got {np.shape(given)}"
            )
        found[label] = array
    return found


@dataclass(frozen=True)
class Track:
    """The part of a path that can be drawn, points (k, n), and whether it ends where the path leaves the picture."""

    points: Floats
    leaves: bool


def track(path: Floats, box: Floats) -> Track:
    """The path (t, n) up to where it leaves the box (n, 2) for good, or up to its first point that is not finite."""
    lost = np.flatnonzero(~np.isfinite(path).all(axis=1))
    points = _nearer(path[: lost[0]] if lost.size else path, box)
    inside = np.flatnonzero(((points >= box[:, 0]) & (points <= box[:, 1])).all(axis=1))
    if not inside.size or (inside[-1] == len(points) - 1 and not lost.size):
        return Track(points, False)
    last = int(inside[-1])
    kept = points[: last + 1]
    if last + 1 == len(points):
        return Track(kept, True)
    step = points[last + 1] - points[last]
    wall = np.where(step > 0, box[:, 1], box[:, 0])
    # A step of hardly more than nothing reaches its wall after infinitely many.
    with np.errstate(over="ignore"):
        share = min(float((wall[i] - points[last, i]) / step[i]) for i in np.flatnonzero(step))
    return Track(np.vstack([kept, points[last] + share * step]), True)


def length(part: Track, box: Floats) -> float:
    """The length of what is drawn of a path within the box (n, 2), whose sides count as 1."""
    scaled = (np.clip(part.points, box[:, 0], box[:, 1]) - box[:, 0]) / np.ptp(box, axis=1)
    return float(np.linalg.norm(np.diff(scaled, axis=0), axis=1).sum())


def _nearer(points: Floats, box: Floats) -> Floats:
    """Points (t, n) with those more than a million sizes of the box away moved nearer, in their direction."""
    # Halved, for the difference of two finite numbers may overflow.
    centre, reach = box.mean(axis=1) / 2, _FAR * float(np.ptp(box, axis=1).max()) / 2
    offset = points / 2 - centre
    distance = np.abs(offset).max(axis=1, keepdims=True)
    return np.where(distance > reach, 2 * (centre + offset * (reach / np.maximum(distance, reach))), points)
