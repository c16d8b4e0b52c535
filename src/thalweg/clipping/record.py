"""What one clipping of the gradients did."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What was found and done to the gradients of one step.

    Attributes
    ----------
    norm: Euclidean norm of all gradients together before clipping, in units of the gradient; not finite where
        `nonfinite` names parameters.
    clipped: whether any entry was changed.
    angle: radians by which the direction turned: 0 for norm clipping; NaN where the norm is not finite.
    scale: norm after over norm before; 1 where nothing was changed.
    nonfinite: names of the parameters whose gradient holds NaN or infinity.
    skipped: whether the gradients were dropped because of those, so that the step changes nothing.
    """

    norm: float
    clipped: bool
    angle: float
    scale: float
    nonfinite: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def cosine(self) -> float:
        """Cosine between the gradient before and after; 1 where the direction was kept."""
        return math.cos(self.angle)
