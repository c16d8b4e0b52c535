"""How smooth the loss is along a gradient step: the measures of Santurkar et al. (2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg import checks
from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, require_objective

LENGTHS = 8
"""Steps that are tried when the rates are not given."""


@dataclass(frozen=True)
class Smoothness:
    """What the loss and its gradient g do along θ − ηg, for each of the rates η (r,).

    losses: (r,) L(θ − ηg). gradient_changes: (r,) ‖∇L(θ − ηg) − g‖. distances: (r,) η‖g‖.
    loss: L(θ). gradient_norm: ‖g‖. curvature: gᵀHg/‖g‖², the limit of the smoothness for short steps, from a Hessian
    product; None where it was not needed to choose the rates. rounding: that of a loss.
    """

    rates: Tensor
    losses: Tensor
    gradient_changes: Tensor
    distances: Tensor
    loss: float
    gradient_norm: float
    curvature: float | None
    rounding: float

    @property
    def loss_range(self) -> tuple[float, float]:
        """Smallest and largest loss along the step: the wider, the less smooth."""
        return float(self.losses.min()), float(self.losses.max())

    @property
    def gradient_range(self) -> tuple[float, float]:
        """Smallest and largest distance of a gradient along the step from the one it follows: predictiveness."""
        return float(self.gradient_changes.min()), float(self.gradient_changes.max())

    @property
    def effective_smoothness(self) -> float:
        """Largest change of the gradient over the distance moved: the Lipschitz constant β that shows."""
        return float((self.gradient_changes / self.distances).max())

    def __str__(self) -> str:
        low, high = (number(value, 3) for value in self.loss_range)
        near, far = (number(value, 3) for value in self.gradient_range)
        return (
            f"along a gradient step with η from {number(float(self.rates[0]), 2)} to "
            f"{number(float(self.rates[-1]), 2)}: loss {low} to {high} (from {number(self.loss, 3)}), gradient changes "
            f"by {near} to {far} (of {number(self.gradient_norm, 3)}), effective smoothness "
            f"{number(self.effective_smoothness, 3)}"
        )


def smoothness(
    obj: AbstractObjective, theta: Tensor | None = None, *, rates: Sequence[float] | None = None
) -> Smoothness:
    """Measure the loss and its gradient along one gradient step from θ (n,), the objective's own point when None.

    It costs a loss and a gradient for each rate, and a Hessian product when rates are not given.

    Parameters
    ----------
    rates: step sizes η; when None, eight from a quarter to four times the η that minimizes the loss's parabola along
        the gradient, ‖g‖²/abs(gᵀHg).

    Raises
    ------
    InvalidArgument: rates that are not positive and finite, or none; a point whose gradient is zero, which has no
        step; a parabola without curvature where rates are not given.
    """
    require_objective(obj)
    theta = obj.checked_point(theta)
    curvature = None
    with obj.at(theta) as here:
        loss, slope = float(here.loss()), here.gradient()
        norm = float(slope.norm())
        if not norm:
            raise InvalidArgument("theta has a gradient of zero: there is no step to look along")
        if rates is None:
            curvature = float(slope @ here.hvp(slope)) / norm**2
            if abs(curvature) <= 10 * torch.finfo(obj.dtype).eps * norm:
                raise InvalidArgument(
                    f"the loss has no curvature along the gradient ({curvature:.1e}): pass rates=[...]"
                )
            rates = [4 ** (2 * i / (LENGTHS - 1) - 1) / abs(curvature) for i in range(LENGTHS)]
    if not rates:
        raise InvalidArgument("rates must hold one at least, got none")
    for rate in rates:
        checks.positive("rates", rate)
    losses: list[float] = []
    changes: list[float] = []
    for rate in rates:
        with obj.at(theta - rate * slope) as there:
            losses.append(float(there.loss()))
            changes.append(float((there.gradient() - slope).norm()))
    chosen = torch.tensor(list(rates), dtype=torch.float64)
    return Smoothness(
        chosen,
        torch.tensor(losses, dtype=torch.float64),
        torch.tensor(changes, dtype=torch.float64),
        chosen * norm,
        loss,
        norm,
        curvature,
        4 * torch.finfo(obj.dtype).eps * abs(loss),
    )
