"""Whether an eigenvalue can have been passed over: what a random vector would show of it by now.

Let u be a unit eigenvector with eigenvalue μ, orthogonal to the pairs found, and A V = V H + Q C. Then x = Vᵀu and
ξ = Qᵀu obey (μ − H) x = Cᵀξ, so u is known but for ξ: x = Mᵀξ with M = C (μ − H)⁻¹. A random vector g = V s + Q r
that was drawn without looking at u has uᵀg = ξᵀ(M s + r), while ‖u‖² ≥ ξᵀ(I + M Mᵀ) ξ. Hence

    (uᵀg)² ≤ γᵀ (I + M Mᵀ)⁻¹ γ,   γ = M s + r,

and uᵀg is standard normal. Where the bound falls to what a squared normal number stays below once in 200 times, there
is no such u, with that confidence; for a Lanczos recurrence it is the Christoffel function of the start's spectral
measure at μ, over ‖g‖², which falls exponentially with each product once μ is off the values found. Compare Kuczyński &
Woźniakowski (1992), Estimating the largest eigenvalue by the power and Lanczos algorithms with a random start, whose
bound is of the same event a priori.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.curvature.spectrum.extraction import Extraction, Which

_RISK = 0.005
"""Probability of an error at each end of the spectrum: 1 % at both."""

_RARE = math.pi / 2 * _RISK**2
"""What a squared standard normal number is below with that probability: its density is 1/√(2π) each side of 0."""


def hidden(
    found: Extraction, coupling: Tensor, witness: Tensor, places: Tensor, margin: float
) -> tuple[bool, Tensor]:
    """Whether an eigenvalue may be hidden at one of `places` (j,), and in which waiting direction (w,) mostly.

    Pairs that were found within half of `margin` of the place are those that it would be hidden behind.
    """
    values = torch.cat([found.values, found.others])
    vectors = torch.cat([found.vectors, found.other_vectors], 1)
    size, count = len(values), len(found.values)
    known, waiting = vectors.T @ witness[:size], witness[size:]
    outer = coupling @ vectors
    # A place on top of a value says as much as one beside it.
    tiny = 1e-14 * float(values.abs().max()) + torch.finfo(outer.dtype).tiny
    worst, direction = 0.0, torch.zeros_like(waiting)
    for place in places.tolist():
        distance = place - values
        resolvent = outer / torch.where(distance.abs() < tiny, tiny, distance)
        resolvent[:, :count][:, distance[:count].abs() < margin / 2] = 0
        gamma = resolvent @ known + waiting
        gram = torch.eye(len(waiting), dtype=outer.dtype) + resolvent @ resolvent.T
        solved = torch.linalg.solve(gram, gamma)
        bound = float(gamma @ solved)
        if bound >= worst:
            worst, direction = bound, solved
    return worst > _RARE, direction / (direction.norm() or 1.0)


def beyond(found: Extraction, which: Which, margin: float) -> Tensor:
    """Where an eigenvalue would have to be that is missing among those found, and more than `margin` better.

    At an end of the spectrum the nearest place stands for all beyond it: there the bound only falls. Between values,
    near zero, the places are a grid.
    """
    values = found.values
    if which == "largest":
        return values.min()[None] + margin
    if which == "smallest":
        return values.max()[None] - margin
    if which == "both":
        # The last of the top half, and the first of the bottom half where there is one.
        top = (values.numel() + 1) // 2
        return torch.cat([values[top - 1 : top] + margin, values[top : top + 1] - margin])
    reach = values.abs()
    if which == "magnitude":
        edge = reach.min() + margin
        return torch.stack([-edge, edge])
    edge = float(reach.max()) - margin
    return torch.linspace(-edge, edge, 17, dtype=values.dtype) if edge > 0 else values[:0]


def repeatable(found: Extraction, which: Which, margin: float) -> Tensor:
    """The values of which a copy would change the result: better by more than `margin` than the last one."""
    values = found.values
    if which == "both":
        top = (values.numel() + 1) // 2
        high, low = values[:top], values[top:]
        return torch.cat([high[high > high[-1:] + margin], low[low < low[:1] - margin]])
    if which in ("largest", "smallest"):
        return values[(values - values[-1]).abs() > margin]
    reach = values.abs()
    return values[(reach - reach[-1]).abs() > margin]


def surveyed(found: Extraction, coupling: Tensor, witness: Tensor, which: Which, margin: float) -> float:
    """The least distance, `margin` or more, beyond which no eigenvalue is hidden; infinite if there is none."""
    low, high = margin, margin
    while hidden(found, coupling, witness, beyond(found, which, high), margin)[0]:
        low, high = high, 2 * high
        if low > found.norm:
            return math.inf
    while high > 1.1 * low:
        middle = math.sqrt(low * high)
        if hidden(found, coupling, witness, beyond(found, which, middle), margin)[0]:
            low = middle
        else:
            high = middle
    return high
