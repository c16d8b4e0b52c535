"""The largest rise of the loss within a ball around a point, by projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.objective import AbstractObjective

GRADIENTS = 100
"""Most gradients that an ascent from one start takes."""


@dataclass(frozen=True)
class Rise:
    """The largest rise found, and how much is left to the maximum that the ascent was on its way to."""

    value: float
    gap: float
    gradients: int


def largest_rise(
    obj: AbstractObjective, theta: Tensor, rho: float, scale: Tensor, starts: list[Tensor], tol: float = 1e-4
) -> Rise:
    """The largest L(θ + Tu) − L(θ) over ‖u‖ ≤ ρ, from each start u (n,), with T = diag(scale).

    Every step is kept on the sphere ‖u‖ = ρ, where the maximum lies unless θ is a maximum itself, and accepted only
    if the loss rises. An ascent ends when its gap is below tol of the rise: the larger of ρ‖Tg‖ − ⟨Tg, u⟩, what the
    best linear step would add (Frank & Wolfe 1956), and of what is left if the last gains go on shrinking at their
    rate. The ascent may stay at a lower maximum: more starts, less risk.
    """
    base = float(obj.loss(theta))
    best, at, spent = Rise(0.0, 0.0, 0), theta, 0

    def try_from(start: Tensor) -> None:
        nonlocal best, at, spent
        found, place = _ascend(obj, theta, base, rho, scale, start, tol)
        spent += found.gradients
        if found.value > best.value:
            best, at = found, place

    for start in starts:
        try_from(start)
    if best.gradients:
        # Near a minimum both ends of the stiffest direction are maxima, and only the third derivative tells them apart.
        try_from(-at)
    return Rise(best.value, best.gap, spent)


def _ascend(
    obj: AbstractObjective, theta: Tensor, base: float, rho: float, scale: Tensor, start: Tensor, tol: float
) -> tuple[Rise, Tensor]:
    def look(u: Tensor) -> tuple[float, Tensor]:
        with obj.at(theta + scale * u) as here:
            return float(here.loss()) - base, scale * here.gradient()

    u = _onto(start, rho)
    value, slope = look(u)
    spent, step = 1, 1.0
    gap, gain, left = float("inf"), 0.0, 0.0
    while spent < GRADIENTS:
        norm = float(slope.norm())
        gap = max(rho * norm - float(slope @ u), left)
        if gap <= tol * abs(value) or not norm:
            break
        # A long step is the linear step: where the loss is convex it always rises.
        moved = _onto(u + slope * (step * rho / norm), rho)
        risen, there = look(moved)
        spent += 1
        if risen > value:
            shrinking = min((risen - value) / gain, 0.99) if gain else 0.0
            gain, left = risen - value, (risen - value) * shrinking / (1 - shrinking)
            u, value, slope, step = moved, risen, there, 4 * step
        elif step < 1e-6:
            break
        else:
            step /= 4
    return Rise(value, gap, spent), u


def _onto(u: Tensor, rho: float) -> Tensor:
    norm = u.norm()
    return rho * u / norm if float(norm) else u


def starts(
    obj: AbstractObjective, theta: Tensor, scale: Tensor, random: list[Tensor], seed: int
) -> list[Tensor]:
    """Where the maximum may lie: along the gradient, along the stiffest direction, and the random vectors (n,)."""
    with obj.at(theta) as here:
        slope = scale * here.gradient()

        def product(v: Tensor) -> Tensor:
            stretch = scale if v.dim() == 1 else scale[:, None]
            return stretch * here.hvp(stretch * v)

        scaled = SymmetricOperator(
            product, obj.size, dtype=obj.dtype, device=obj.device, name="scaled Hessian"
        )
        stiffest = eigenpairs(scaled, 1, tol=1e-2, seed=seed).vectors[:, 0]
    return [direction for direction in (slope, stiffest) if float(direction.norm())] + random
