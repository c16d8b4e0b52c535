"""The search with dense Hessians, for many starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.curvature.critical.trust_region import (
    index_step,
    judged_by_agreement,
    judged_by_decrease,
    least_squares_step,
    newton_step,
    remaining_step,
    roundoff,
)

Outcome: TypeAlias = Literal["converged", "impostor", "unfinished", "escaped", "not finite"]
Rule: TypeAlias = Literal["newton", "gradient-norm"]

FLAT = 1e-2
"""‖Hg‖ / (abs(λ)max ‖g‖) up to which a point where ‖g‖ falls no further is an impostor."""

FAR = 1e-2
"""How far, relative to max(1, ‖θ‖), a critical point may be by Newton's method from where a search ends."""

WINDOW, GAIN = 10, 0.9
"""Where Hg ≈ 0, ‖g‖ falls no further when this many Hessians have not lowered it to this part."""

_TRIALS = 8
_CHORD = 0.3
_RETARGET = 25
_CLEAR = 1e-8


@dataclass(frozen=True)
class Ends:
    """Where the starts ended: `points` (b, n), ‖g‖ there, the estimated distance to the critical point, and why."""

    points: Tensor
    gradient_norms: Tensor
    location_errors: Tensor
    outcomes: tuple[Outcome, ...]


class DenseSearch:
    """Starts (b, n) on their way to critical points; `run` moves all of them until each has an outcome.

    A point is critical when ‖g‖ ≤ tol · abs(λ)max · max(1, ‖θ‖), as in `classify`. By the rule "newton" each start
    heads for a critical point of some index: the number of eigenvalues below −clear · abs(λ)max at the start, and
    every 25 Hessians the number that are negative then; a step is good when the gradient changes as the Hessian says.
    By "gradient-norm" each step lowers ‖g‖. A Hessian serves several steps while they agree with it.
    """

    def __init__(
        self,
        derivatives: Derivatives,
        starts: Tensor,
        rule: Rule,
        *,
        tol: float,
        reach: float,
        clear: float,
    ) -> None:
        self.derivatives = derivatives
        self.rule: Rule = rule
        self.tol = tol
        self.reach = reach
        self.clear = clear
        self.starts = starts
        self.points = starts.clone()
        # A copy, for what comes may be one number seen from every entry.
        self.slopes = derivatives.gradient(starts).clone()
        self.widest = starts.norm(dim=1).clamp_min(1)
        self.radii = 0.3 * self.widest
        self.errors = torch.full_like(self.radii, torch.nan)
        self.index = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
        self.outcomes: list[Outcome | None] = [None] * len(starts)
        self.active = torch.arange(len(starts), device=starts.device)
        self.flatness = torch.ones_like(self.radii)
        self.history: list[Tensor] = []

    def run(self, max_steps: int) -> Ends:
        """Go on until every start has an outcome, with at most `max_steps` Hessians each."""
        for number in range(max_steps):
            self._retire(~_finite(self.slopes[self.active]), "not finite")
            self._retire(self._distance() > self.reach, "escaped")
            matrices = self.derivatives.hessian(self.points[self.active])
            finite = _finite(matrices.flatten(1))
            self._retire(~finite, "not finite")
            if not self.active.numel():
                break
            values, vectors = torch.linalg.eigh(matrices[finite])
            del matrices
            values, vectors = self._settle(values, vectors)
            if not self.active.numel():
                break
            if number % _RETARGET == 0:
                self._aim(values, _CLEAR if number else self.clear)
            self._move(values, vectors)
        for i in self.active.tolist():
            self.outcomes[i] = "impostor" if float(self.flatness[i]) <= FLAT else "unfinished"
        outcomes: tuple[Outcome, ...] = tuple(outcome or "unfinished" for outcome in self.outcomes)
        return Ends(self.points, self.slopes.norm(dim=1), self.errors, outcomes)

    def _settle(self, values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Retire the starts that are where ‖g‖ vanishes, or falls no more; the rest of the eigenpairs."""
        points, slopes = self.points[self.active], self.slopes[self.active]
        size, scale = slopes.norm(dim=1), points.norm(dim=1).clamp_min(1)
        largest = values.abs().amax(1)
        local = _into(vectors, slopes)
        steepest = (largest * size).clamp_min(torch.finfo(size.dtype).tiny)
        self.flatness[self.active] = (values * local).norm(dim=1) / steepest
        there = size <= self.tol * largest * scale
        if bool(there.any()):
            there[there.clone()] = self._confirmed(
                self.active[there], values[there], vectors[there], local[there]
            )
        sizes = torch.full_like(self.radii, torch.inf)
        sizes[self.active] = size
        self.history.append(sizes)
        flat = self.flatness[self.active] <= FLAT
        still = self.radii[self.active] < 1e2 * torch.finfo(size.dtype).eps * scale
        if self.rule == "gradient-norm" and len(self.history) > WINDOW:
            still |= flat & (size > GAIN * self.history[-1 - WINDOW][self.active])
        still &= ~there
        ends: list[tuple[Tensor, Outcome]] = [
            (there, "converged"),
            (still & flat, "impostor"),
            (still & ~flat, "unfinished"),
        ]
        for mask, outcome in ends:
            for i in self.active[mask].tolist():
                self.outcomes[i] = outcome
        keep = ~(there | still)
        self.active = self.active[keep]
        return values[keep], vectors[keep]

    def _confirmed(self, chosen: Tensor, values: Tensor, vectors: Tensor, local: Tensor) -> Tensor:
        """Which of the chosen starts, where ‖g‖ is small, are at a critical point; those are moved nearer to it.

        Newton's method goes not far there, else the loss only levels out as it does towards infinity; and it leaves
        nothing of ‖g‖ but rounding, else there may be a minimum of ‖g‖ that is small but not zero.
        """
        before, slopes = self.points[chosen], self.slopes[chosen]
        scale = before.norm(dim=1, keepdim=True).clamp_min(1)
        points = before
        for zero in (torch.finfo(values.dtype).eps ** 0.5, roundoff(values)):
            step = newton_step(values, local, zero)
            length = step.norm(dim=1, keepdim=True).clamp_min(torch.finfo(step.dtype).tiny)
            ahead = before + _out_of(vectors, step * (FAR * scale / length).clamp_max(1))
            there = self.derivatives.gradient(ahead)
            better = (there.norm(dim=1) < slopes.norm(dim=1))[:, None]
            points, slopes = torch.where(better, ahead, points), torch.where(better, there, slopes)
        after, largest, scale = slopes.norm(dim=1), values.abs().amax(1), scale[:, 0]
        rounding = after <= 100 * roundoff(values) * largest * scale
        # What is left by a loss that is rounded worse than that lies in all directions.
        ended = after > GAIN * self.slopes[chosen].norm(dim=1)
        ended &= (values * _into(vectors, slopes)).norm(dim=1) > FLAT * largest * after
        near = remaining_step(values, local, before, 100 * roundoff(values)).norm(dim=1) <= FAR * scale
        good = near & (rounding | ended)
        self.points[chosen[good]] = points[good]
        self.slopes[chosen[good]] = slopes[good]
        self.errors[chosen] = 2 * remaining_step(values, local, before, roundoff(values)).norm(dim=1)
        return good

    def _aim(self, values: Tensor, share: float) -> None:
        """Head for the index that the active starts have now: eigenvalues below −share · abs(λ)max."""
        self.index[self.active] = (values < -share * values.abs().amax(1, keepdim=True)).sum(1)

    def _move(self, values: Tensor, vectors: Tensor) -> None:
        """Steps with these eigenpairs of the active starts: until one is good, and on while the gradient follows."""
        todo = torch.arange(len(self.active), device=values.device)
        for trial in range(_TRIALS):
            chosen = self.active[todo]
            slopes, radii = self.slopes[chosen], self.radii[chosen]
            local = _into(vectors[todo], slopes)
            if self.rule == "newton":
                step = index_step(values[todo], local, radii, self.index[chosen])
            else:
                step = least_squares_step(values[todo], local, radii)
            expected = local + values[todo] * step
            points = self.points[chosen] + _out_of(vectors[todo], step)
            there = self.derivatives.gradient(points)
            before, length = slopes.norm(dim=1), step.norm(dim=1)
            miss = (_into(vectors[todo], there) - expected).norm(dim=1) / before
            if self.rule == "newton":
                good, radii = judged_by_agreement(miss, length, radii, self.widest[chosen])
            else:
                after = there.norm(dim=1)
                good, radii = judged_by_decrease(before, after, expected.norm(dim=1), length, radii)
            self.radii[chosen] = radii
            self.points[chosen[good]] = points[good]
            self.slopes[chosen[good]] = there[good]
            # NaN is no agreement.
            again = ~good | ((miss < _CHORD) & (trial < 2))
            todo = todo[again]
            if not todo.numel():
                return

    def _distance(self) -> Tensor:
        return (self.points - self.starts)[self.active].norm(dim=1)

    def _retire(self, mask: Tensor, outcome: Outcome) -> None:
        """Give the starts that `mask` picks among the active ones their outcome."""
        for i in self.active[mask].tolist():
            self.outcomes[i] = outcome
        self.active = self.active[~mask]


def _finite(rows: Tensor) -> Tensor:
    """Which rows (b, n) are finite, shape (b,)."""
    return rows.isfinite().all(1)


def _into(vectors: Tensor, rows: Tensor) -> Tensor:
    """The components (b, n) of `rows` (b, n) along the columns of `vectors` (b, n, n)."""
    return (vectors.mT @ rows[..., None])[..., 0]


def _out_of(vectors: Tensor, components: Tensor) -> Tensor:
    """The rows (b, n) that have these components (b, n) along the columns of `vectors`."""
    return (vectors @ components[..., None])[..., 0]
