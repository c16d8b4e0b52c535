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
    if not len(places):
        return False, torch.zeros_like(waiting)
    distance = places[:, None] - values
    # A place on top of a value says as much as one beside it.
    tiny = 1e-14 * float(values.abs().max()) + torch.finfo(values.dtype).tiny
    inverse = 1 / torch.where(distance.abs() < tiny, tiny, distance)
    inverse[:, :count][distance[:, :count].abs() < margin / 2] = 0
    # Of shape (j, w, m), (j, w) and (j, w, w).
    resolvent = (coupling @ vectors) * inverse[:, None]
    gamma = resolvent @ known + waiting
    gram = torch.eye(len(waiting), dtype=gamma.dtype) + resolvent @ resolvent.mT
    solved = torch.linalg.solve(gram, gamma)
    bounds = (gamma * solved).sum(1)
    direction = solved[bounds.argmax()]
    return float(bounds.max()) > _RARE, direction / (direction.norm() or 1.0)


def beyond(found: Extraction, which: Which, reach: float, margin: float) -> Tensor:
    """Where an eigenvalue would have to be that is missing among those found, and better than the last by `reach`.

    The bound falls with the distance from the values that showed, so the places next to them stand for all: `reach`
    from the last one wanted and `margin` to each side of the others. Those near zero get a grid between them as well.
    """
    values = found.values
    around = torch.cat([values - margin, values + margin])
    if which == "both":
        top = (len(values) + 1) // 2
        ends = [values[top - 1 : top] + reach, values[top : top + 1] - reach]
        return torch.cat(
            [*ends, around[(around > ends[0])], around[(around < ends[1])] if len(ends[1]) else ends[1]]
        )
    last = values[-1]
    if which == "largest":
        return torch.cat([last[None] + reach, around[around > last + reach]])
    if which == "smallest":
        return torch.cat([last[None] - reach, around[around < last - reach]])
    if which == "magnitude":
        edge = last.abs() + reach
        return torch.cat([torch.stack([-edge, edge]), around[around.abs() > edge]])
    edge = last.abs() - reach
    if edge <= 0:
        return values[:0]
    return torch.cat([torch.linspace(-1, 1, 17, dtype=values.dtype) * edge, around[around.abs() < edge]])


def repeatable(found: Extraction, which: Which, margin: float) -> Tensor:
    """The values of which a copy would change the result: better by more than `margin` than the last one."""
    values = found.values
    if which == "both":
        top = (len(values) + 1) // 2
        high, low = values[:top], values[top:]
        return torch.cat([high[high > high[-1:] + margin], low[low < low[:1] - margin]])
    if which in ("largest", "smallest"):
        return values[(values - values[-1]).abs() > margin]
    size = values.abs()
    return values[(size - size[-1]).abs() > margin]


def surveyed(found: Extraction, coupling: Tensor, witness: Tensor, which: Which, margin: float) -> float:
    """The least distance, `margin` or more, beyond which no eigenvalue is hidden; infinite if there is none."""

    def doubtful(reach: float) -> bool:
        return hidden(found, coupling, witness, beyond(found, which, reach, margin), margin)[0]

    low, high = margin, margin
    while doubtful(high):
        if high > found.norm:
            return math.inf
        low, high = high, 2 * high
    while high > 1.1 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if doubtful(middle) else (low, middle)
    return high
