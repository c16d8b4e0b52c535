"""Sharpness-aware minimization: step with the gradient of the worst point nearby."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from thalweg.optim.sharpness.sharpness_aware import SharpnessAware


class SAM(SharpnessAware):
    """SAM around any optimizer: g' is the gradient at θ + ρg/‖g‖, and the base steps from θ with g'.

    ::

        opt = SAM(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.05, model=model)
        opt.step(closure)                  # closure: zero_grad(), loss, backward(), return the loss
        # or, for loops that call backward() themselves
        loss(batch).backward(); opt.ascend(); loss(batch).backward(); opt.step(); opt.zero_grad()

    The norm is over all parameters of all groups. Weight decay belongs to the base's step and has no part in
    the ascent. Where g is zero or not finite nothing is perturbed, and the step is one of the base with the
    gradient at θ, whatever the base makes of it.

    Parameters
    ----------
    base: the optimizer that takes the steps; its groups may set `rho` each for themselves. A group with
        rho = 0 is not perturbed, though its gradient counts in the norm.
    rho: length ρ of the ascent, in units of θ.
    model: its batch-norm layers update their running statistics in the first pass only. An optimizer knows
        parameters, not layers: without `model`, they are updated in both passes, at θ and at the perturbed
        point.

    Dropout draws another mask in each pass, for the random state is left alone: a closure that sets a seed
    shares one. Mixed precision: scale both losses and call ascend() and `scaler.step(opt)`; the ascent does
    not depend on the scale, so unscale (for clipping) after the second backward() only. Data parallelism:
    the ascent is that of the averaged gradient; under `model.no_sync()` for the first backward(), each rank's
    own (m-sharpness).

    Raises InvalidArgument for a base that is no optimizer or cannot step without a closure (L-BFGS), for a
    `rho` that is negative or not finite, and for a `model` that is no module.

    Source: Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization.
    """

    def __init__(self, base: Optimizer, rho: float = 0.05, *, model: nn.Module | None = None) -> None:
        super().__init__(base, model, rho=rho)
