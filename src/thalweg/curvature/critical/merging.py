"""Which ends of a search are the same critical point."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.critical.dense_search import Ends


def distinct_ends(ends: Ends, chosen: list[int], distinct: float) -> tuple[list[int], list[int]]:
    """For each distinct point the one of the `chosen` ends with the smallest gradient, and how many ends are there.

    Ends are the same when `near`; each belongs to the best one that it is near to.
    """
    order = sorted(chosen, key=lambda i: float(ends.gradient_norms[i]))
    points, errors = ends.points[order], ends.location_errors[order]
    left = torch.ones(len(order), dtype=torch.bool, device=points.device)
    found: list[int] = []
    hits: list[int] = []
    for i, end in enumerate(order):
        if not bool(left[i]):
            continue
        same = left & near(points[i], points, errors + errors[i], distinct)
        same[i] = True
        found.append(end)
        hits.append(int(same.sum()))
        left &= ~same
    return found, hits


def near(point: Tensor, points: Tensor, errors: Tensor, distinct: float) -> Tensor:
    """Which `points` (m, n) are nearer to `point` (n,) than distinct · max(1, ‖point‖) or twice their `errors`."""
    room = (2 * errors).clamp_min(distinct * max(1.0, float(point.norm())))
    return (points - point).norm(dim=1) <= room
