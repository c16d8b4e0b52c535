"""Where searches for critical points begin: spread over a box, or over the heights of a model's loss."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.objective import AbstractObjective

DESCENT = 200
"""Most steps of descent before a search."""

_SCALES = (0.2, 2.0)


def in_box(box: Tensor, count: int, seed: int) -> Tensor:
    """`count` points (count, n) of a scrambled Sobol sequence in the box (n, 2), which cover it evenly."""
    engine = torch.quasirandom.SobolEngine(len(box), scramble=True, seed=seed)
    share = engine.draw(count, dtype=torch.float64).to(box)
    return box[:, 0] + share * (box[:, 1] - box[:, 0])


def at_many_heights(derivatives: Derivatives, count: int, seed: int) -> Tensor:
    """`count` points (count, n) from random networks down to trained ones.

    Each begins at normal noise, as large as each parameter block's root mean square at the objective's point times a
    factor between 0.2 and 2, every other one plus a random share of that point; and descends from there
    by a number of gradient steps between none and 200, few more often than many.
    """
    objective = derivatives.objective
    draw = torch.Generator().manual_seed(seed)
    like = objective.point

    def uniform() -> Tensor:
        # One from each of `count` equal parts of [0, 1], in random order.
        order = torch.randperm(count, generator=draw)
        return ((order + torch.rand(count, generator=draw)) / count).to(like)

    low, high = _SCALES
    scales = low * (high / low) ** uniform()
    shares = torch.where(torch.arange(count, device=like.device) % 2 == 0, 0.0, uniform())
    noise = torch.randn(count, objective.size, generator=draw, dtype=torch.float64).to(like)
    points = shares[:, None] * like + scales[:, None] * _spread(objective, like) * noise
    return _descended(derivatives, points, (DESCENT * uniform().square()).long())


def _spread(objective: AbstractObjective, point: Tensor) -> Tensor:
    """The root mean square of the block that each entry of θ is in, shape (n,): of all of θ for blocks of zeros."""
    whole = float(point.square().mean().sqrt()) or 1.0
    spread = torch.empty_like(point)
    for block in objective.blocks:
        spread[block.span] = float(point[block.span].square().mean().sqrt()) or whole
    return spread


def _descended(derivatives: Derivatives, points: Tensor, steps: Tensor) -> Tensor:
    """`points` (b, n) after `steps` (b,) steps of gradient descent each.

    Rates are those of Barzilai and Borwein (1988), the shorter one, which need neither losses nor a setting; no step
    is longer than a tenth of θ.
    """
    slopes = derivatives.gradient(points)
    rates = 0.03 * points.norm(dim=1) / slopes.norm(dim=1).clamp_min(torch.finfo(points.dtype).tiny)
    for taken in range(int(steps.max())):
        going = steps > taken
        moves = -rates[going, None] * slopes[going]
        limit = 0.1 * points[going].norm(dim=1, keepdim=True)
        moves = moves * (limit / moves.norm(dim=1, keepdim=True)).clamp_max(1)
        ahead = points[going] + moves
        there = derivatives.gradient(ahead)
        change = there - slopes[going]
        curved = (change * moves).sum(1).abs() / change.square().sum(1)
        points[going], slopes[going] = ahead, there
        rates[going] = torch.where(curved.isfinite() & (curved > 0), curved, rates[going])
    return points
