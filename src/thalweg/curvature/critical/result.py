"""What a search for critical points found, and what became of the starts that found none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thalweg.curvature.critical.classification import Classification
from thalweg.numbers import number
from thalweg.surfaces import CriticalPoint

_FAILURES = {
    "impostor": "at impostors (Hg ≈ 0 but g ≠ 0)",
    "unfinished": "unfinished",
    "escaped": "escaped",
    "not finite": "where the loss is not finite",
    "not symmetric": "where the Hessian is not symmetric (nothing but rounding, or a wrong backward pass)",
    "outside": "outside the box",
}


@dataclass(frozen=True)
class CriticalPoints:
    """Distinct critical points, lowest first.

    points: (m, n). losses: (m,). kinds: the classification of each point.
    gradient_norms: (m,), ‖g‖ at the points. location_errors: (m,), estimated distances to the exact critical points,
        of what is not rounding: twice the next Newton step.
    hits: (m,), how many starts led to each.
    failures: starts that led to none, by why: "impostor" (‖g‖ has a minimum with Hg ≈ 0 but g ≠ 0), "unfinished" (out
        of steps), "escaped" (ran away), "not finite", "not symmetric" (the Hessian is nothing but rounding
        there: try float64; or a backward pass is wrong), "outside" (a critical point, but outside the box).
    starts: how many there were. gradients, hessians, products: evaluations spent, Hessians dense ones.
    missing: known critical points of a surface (in the box) that were not found.
    known: how many are known; None where nothing is. known_complete: whether there are no others.
    """

    points: Tensor
    losses: Tensor
    kinds: tuple[Classification, ...]
    gradient_norms: Tensor
    location_errors: Tensor
    hits: Tensor
    failures: dict[str, int]
    starts: int
    gradients: int
    hessians: int
    products: int
    missing: tuple[CriticalPoint, ...] = field(default=(), repr=False)
    known: int | None = None
    known_complete: bool = False

    def __len__(self) -> int:
        return len(self.points)

    @property
    def index(self) -> Tensor:
        """Negative eigenvalues of the Hessian at each point, shape (m,)."""
        return torch.tensor([kind.index for kind in self.kinds], dtype=torch.long)

    @property
    def index_fraction(self) -> Tensor:
        """The index over the dimension, shape (m,)."""
        return self.index.double() / self.points.shape[1]

    @property
    def degenerate(self) -> int:
        """Points whose Hessian has eigenvalues within error of zero: they may be points of one connected family."""
        return sum(kind.near_zero > 0 for kind in self.kinds)

    @property
    def converged(self) -> int:
        """Starts that led to one of the points."""
        return int(self.hits.sum())

    @property
    def complete(self) -> bool | None:
        """Whether these are all there are; None where nobody knows."""
        if self.missing:
            return False
        return True if self.known_complete else None

    @property
    def chance_of_another(self) -> float:
        """Estimated chance that one more start that converges finds a point that is not here (Good 1953).

        The share of converged starts whose point no other start found; 1 where none converged.
        """
        return int((self.hits == 1).sum()) / self.converged if self.converged else 1.0

    def __str__(self) -> str:
        count = len(self)
        lost = ", ".join(
            f"{self.failures[why]} {text}" for why, text in _FAILURES.items() if self.failures.get(why)
        )
        text = f"{count} critical point{'' if count == 1 else 's'} from {self.starts} start"
        text += "" if self.starts == 1 else "s"
        if lost:
            text += f" ({self.converged} converged; {lost})"
        if count:
            low, high = float(self.losses[0]), float(self.losses[-1])
            losses = f"losses {number(low)} to {number(high)}" if count > 1 else f"loss {number(low)}"
            text += f": {_kinds(self.kinds)}; {losses}"
        if count > 1 and self.degenerate:
            text += f"; {self.degenerate} with eigenvalues within error of zero: of a connected family their number "
            text += "says only how many starts there were"
        if self.known:
            found = self.known - len(self.missing)
            text += f"; {found} of {self.known} known ones" + (", all there are" if self.complete else "")
        return text


def _kinds(kinds: tuple[Classification, ...]) -> str:
    """ "4 minima, 4 saddles of index 1, 1 maximum"."""
    counts = Counter(kind.kind for kind in kinds)
    parts: list[str] = []
    for kind, one, many in (
        ("minimum", "minimum", "minima"),
        ("saddle", "saddle", "saddles"),
        ("maximum", "maximum", "maxima"),
        ("undetermined", "undetermined", "undetermined"),
    ):
        if not counts[kind]:
            continue
        text = f"{counts[kind]} {one if counts[kind] == 1 else many}"
        if kind == "saddle":
            indices = [found.index for found in kinds if found.kind == "saddle"]
            low, high = min(indices), max(indices)
            text += f" of index {low}" if low == high else f" of index {low} to {high}"
        parts.append(text)
    return ", ".join(parts)
