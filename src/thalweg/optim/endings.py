"""Telling how descents ended: at which point, in which cycle, out of the box, or none of these."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.objective.abstract import AbstractObjective
from thalweg.optim.driver.batched import Driver
from thalweg.optim.outcomes import KINDS, Outcomes, Target
from thalweg.surfaces import Surface

WINDOW = 64
"""Steps that undecided descents are followed after the last one, to tell cycles from paths still on their way."""
RETURNED = 1e-3
"""A cycle has come back when it is this much closer to where it was than it got away in between."""
ROUNDING = 1e-5
"""Differences between two rounds of a cycle that count as none, beside its extent."""
STILL = 1e-3
"""A path rests when it gets no further than this part of the distance that counts as near."""
MOST_UNLISTED = 32
"""How many points that no list has are told apart."""


def outcomes(
    objective: AbstractObjective, driver: Driver, begun: Tensor, near: float, follow: bool
) -> Outcomes:
    """How each of the driver's columns ended.

    A column within `near` of a known minimum has converged to it. With `follow` the others are followed for `WINDOW`
    more steps, which moves the driver on: they rest where they hardly move and their gradient has vanished beside
    `begun`, the gradient at the starts (n, ...); they cycle where they come back to where they were.
    """
    theta, inside = driver.theta(), driver.inside == driver.steps
    step = torch.where(inside, 0, driver.inside + 1)
    known = objective.critical_points if isinstance(objective, Surface) else ()
    found = [Target(tuple(p.location.tolist()), p.value, p.kind) for p in known]
    locations = torch.stack([p.location for p in known]) if known else theta.new_zeros((0, len(theta)))
    target, distance = nearest(theta, locations)
    minimum = torch.tensor([p.kind == "minimum" for p in known] + [False], device=theta.device)[target]
    converged = inside & minimum & (distance <= near)
    period = torch.zeros_like(target)
    undecided = inside & ~converged
    if follow and bool(undecided.any()):
        vanished = _length(driver.field(driver.point)) <= torch.finfo(theta.dtype).eps ** 0.4 * _length(begun)
        furthest, period = _followed(driver, theta)
        resting = undecided & vanished & (furthest <= STILL * near)
        period = torch.where(undecided & ~resting & (furthest > near), period, 0)
        converged |= resting
        unlisted = resting & (distance > near)
        centers = _representatives(theta[:, unlisted], near)
        index, away = nearest(theta, centers)
        target = torch.where(unlisted, torch.where(away <= near, index + len(known), -1), target)
        losses = objective.losses(centers).tolist() if len(centers) else []
        found += [Target(tuple(x), y, "unlisted") for x, y in zip(centers.tolist(), losses, strict=True)]
    kind = torch.where(converged, KINDS.index("converged"), KINDS.index("wandering"))
    kind = torch.where(period > 0, KINDS.index("cycling"), kind)
    kind = torch.where(inside, kind, KINDS.index("diverged"))
    return Outcomes(
        kind.to(torch.int8).cpu().numpy(),
        torch.where(converged, target, -1).to(torch.int32).cpu().numpy(),
        period.to(torch.int32).cpu().numpy(),
        step.to(torch.int64).cpu().numpy(),
        tuple(found),
    )


def nearest(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For points (n, ...) and targets (k, n): the index of the nearest target and the distance to it, each (...).

    Without targets the index is -1 and the distance infinite; so they are for points that are not numbers.
    """
    distance = torch.full(points.shape[1:], torch.inf, dtype=points.dtype, device=points.device)
    index = torch.full(points.shape[1:], -1, dtype=torch.int64, device=points.device)
    for place, target in enumerate(targets):
        away = _length(points - target.to(points).view(-1, *[1] * (points.dim() - 1)))
        closer = away < distance
        distance = torch.where(closer, away, distance)
        index = torch.where(closer, place, index)
    return index, distance


def _followed(driver: Driver, theta: Tensor) -> tuple[Tensor, Tensor]:
    """How far each column gets from θ within the window, and after how many steps it first comes back, 0 if never."""
    away: list[Tensor] = []
    for _ in range(WINDOW):
        driver.step()
        away.append(_length(driver.theta() - theta))
    distances = torch.stack(away)
    furthest = distances.amax(0)
    back = distances <= RETURNED * distances.cummax(0).values
    # A path that stays where it is comes back after one step, which is no cycle.
    first = back.to(torch.int8).argmax(0) + 1
    # One that creeps, to rest or away, is twice as far off after two rounds.
    twice = (2 * first - 1).clamp(max=WINDOW - 1)[None]
    creeps = (
        distances.gather(0, twice)[0] > 1.5 * distances.gather(0, first[None] - 1)[0] + ROUNDING * furthest
    )
    return furthest, torch.where(back.any(0) & (first > 1) & (2 * first <= WINDOW) & ~creeps, first, 0)


def _representatives(points: Tensor, near: float) -> Tensor:
    """Points (k, n) such that each of the first `MOST_UNLISTED` groups of points (n, b) has one of them `near`."""
    found: list[Tensor] = []
    left = points
    while left.shape[1] and len(found) < MOST_UNLISTED:
        found.append(left[:, 0])
        left = left[:, _length(left - left[:, :1]) > near]
    return torch.stack(found) if found else points.new_zeros((0, len(points)))


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length over the leading axis."""
    # torch.linalg.vector_norm takes thirty times as long along an axis that is short and outermost.
    return vectors.square().sum(0).sqrt()
