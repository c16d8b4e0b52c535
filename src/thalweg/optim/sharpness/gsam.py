"""SAM guided by the surrogate gap: also reduce how far the loss rises, without changing the perturbed loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.errors import InvalidArgument
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.sharpness.ascent import accumulator, precise, total_norm
from thalweg.optim.sharpness.sharpness_aware import Found, Group, SharpnessAware


def orthogonal_part(gradients: Sequence[Tensor], perturbed: Sequence[Tensor]) -> list[Tensor]:
    """g⊥, the part of g orthogonal to g', both vectors given as lists of tensors; all of g where g' is zero.

    Source: Zhuang et al. (2022), algorithm 1.
    """
    norm = total_norm(perturbed)
    parts: list[Tensor] = []
    for g, h in zip(gradients, perturbed, strict=True):
        # Divided first, so that no product leaves the range.
        unit = precise(h) / norm.to(precise(h))
        parts.append(torch.sum(precise(g) * unit, dtype=accumulator(g)).to(norm))
    share = torch.where(norm > 0, torch.stack(parts).sum() / norm, torch.zeros_like(norm))
    return [
        (precise(g) - share.to(precise(g)) * precise(h)).to(g.dtype)
        for g, h in zip(gradients, perturbed, strict=True)
    ]


def scheduled_rho(lr: float, lr_min: float, lr_max: float, rho_min: float, rho_max: float) -> float:
    """ρ at the rate `lr`: linear from `rho_min` at `lr_min` to `rho_max` at `lr_max`, and constant beyond.

    Source: Zhuang et al. (2022), section 4.1.
    """
    share = (lr - lr_min) / (lr_max - lr_min)
    return rho_min + (rho_max - rho_min) * min(max(share, 0.0), 1.0)


class GSAM(SharpnessAware):
    """GSAM around any optimizer: the base steps with g' − αg⊥, ρ following the rate; used as `SAM` is.

    g' is the gradient at θ + ρg/‖g‖ and g⊥ the part of g, the gradient at θ, that is orthogonal to g'.

    Parameters
    ----------
    base, model: as for `SAM`; its groups have an "lr", and may set `rho`, `alpha`, `rho_min`, `lr_min` and
        `lr_max`.
    rho: ρ at the rate `lr_max`, and `rho_min` that at `lr_min`; between them it follows the rate linearly.
        With `rho_min=rho` it is constant.
    alpha: weight α of the ascent in the orthogonal direction.
    lr_max: the highest rate of the schedule; each group's initial rate when None.

    Both losses must carry one scale: with a GradScaler do not unscale, a pre-step hook of the base can clip.

    Raises InvalidArgument as `SAM` does, for an `alpha` or `rho_min` that is negative or not finite, and for
    an `lr_max` that does not exceed `lr_min`.

    Source: Zhuang et al. (2022), Surrogate gap minimization improves sharpness-aware training.
    """

    def __init__(
        self,
        base: Optimizer,
        rho: float = 0.05,
        alpha: float = 0.4,
        *,
        rho_min: float = 0.0,
        lr_min: float = 0.0,
        lr_max: float | None = None,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__(base, model, rho=rho, alpha=alpha, rho_min=rho_min, lr_min=lr_min, lr_max=lr_max)
        self._first: dict[Tensor, Tensor] = {}

    def restore(self) -> None:
        """Put the parameters back to where they were before `ascend`, without a step."""
        super().restore()
        self._first = {}

    def _checked(self, options: Group, group: Group) -> Group:
        check.nonnegative(options["alpha"], "alpha")
        check.nonnegative(options["rho_min"], "rho_min")
        rate = group.get("initial_lr", group.get("lr", self.defaults.get("lr")))
        if rate is None:
            raise InvalidArgument("base must have a learning rate named lr for rho to follow, it has none")
        low, high = options["lr_min"], options["lr_max"]
        high = float(rate if high is None else high)
        if not low < high:
            raise InvalidArgument(f"lr_max must exceed lr_min = {low}, got {high}")
        return super()._checked({**options, "lr_max": high}, group)

    def _radius(self, group: Group) -> float:
        limits = (self._option(group, name) for name in ("lr_min", "lr_max", "rho_min", "rho"))
        return scheduled_rho(float(group["lr"]), *limits)

    def _remember(self, found: Found) -> None:
        # Copies: the second backward pass may write into the same memory.
        self._first = {p: g.detach().clone() for _, p, g in found}

    def _combine(self, found: Found) -> None:
        if hasattr(self, "found_inf") and getattr(self, "grad_scale", None) is None:
            raise InvalidArgument(
                "GSAM combines two gradients of one scale: do not call scaler.unscale_() before scaler.step(); "
                "to clip, register a step pre-hook with the base"
            )
        second = [h for _, _, h in found]
        first = [self._first.get(p, torch.zeros_like(h)) for _, p, h in found]
        for rest, (group, _, h) in zip(orthogonal_part(first, second), found, strict=True):
            # Where g is not finite nothing was perturbed: the step is the base's own.
            h.copy_(torch.where(rest.isfinite(), h - self._option(group, "alpha") * rest, h))
