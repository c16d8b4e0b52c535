"""Adaptive SAM: the ascent is measured relative to the size of each weight."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.sharpness.ascent import asam_point, sam_point, scaled
from thalweg.optim.sharpness.sharpness_aware import Group, SharpnessAware


class ASAM(SharpnessAware):
    """ASAM around any optimizer: g' is the gradient at θ + ρT²g/‖Tg‖ with T = |θ| + η; used as `SAM` is.

    With η = 0 the ascent is the same for all networks that rescaling of layers makes of one another; η keeps
    weights at zero movable.

    Parameters
    ----------
    base, model: as for `SAM`. Groups may set `rho`, `eta` and `adaptive`.
    rho: relative length ρ of the ascent; about ten times that of SAM.
    eta: η, added to |θ|; 0 for exact invariance.

    T holds for biases too, as the equation has it and invariance needs it. The authors' code gives T = 1 to
    every parameter without "weight" in its name: put those into a group with `adaptive=False` to do the same.

    Raises InvalidArgument as `SAM` does, and for an `eta` that is negative or not finite.

    Source: Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization for scale-invariant learning.
    """

    def __init__(
        self, base: Optimizer, rho: float = 0.5, eta: float = 0.01, *, model: nn.Module | None = None
    ) -> None:
        super().__init__(base, model, rho=rho, eta=eta, adaptive=True)

    def _checked(self, options: Group, group: Group) -> Group:
        check.nonnegative(options["eta"], "eta")
        return super()._checked(options, group)

    def _weighed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return scaled(p, g, self._option(group, "eta")) if self._option(group, "adaptive") else g

    def _point(self, p: Tensor, g: Tensor, norm: Tensor, rho: float, group: Group) -> Tensor:
        if not self._option(group, "adaptive"):
            return sam_point(p, g, norm, rho)
        return asam_point(p, g, norm, rho, self._option(group, "eta"))
