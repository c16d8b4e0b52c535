"""What of an optimizer decides when it is stable."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thalweg.checks import not_negative
from thalweg.curvature.noise.second_moment import second_moment
from thalweg.curvature.stability.edges import ADAPTIVE, decays
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.objective import AbstractObjective


@dataclass(frozen=True)
class Recipe:
    """θ ← θ − η·share·(P⁻¹m + direct·θ), with m a momentum of g + coupled·θ.

    preconditioner: P (n,), None for none. share: each parameter's rate over the one that is stated, (n,), 0 for those
    that do not move; None where all have it. coupled, direct: weight decay, a number or (n,). used: the rate stated.
    source: where P came from.
    """

    rule: str
    momentum: float
    dampening: float = 0.0
    preconditioner: Tensor | None = None
    share: Tensor | None = None
    coupled: float | Tensor = 0.0
    direct: float | Tensor = 0.0
    maximize: bool = False
    used: float | None = None
    source: str = ""
    note: str = ""


MOMENTUM = {"momentum": 0.9, "nesterov": 0.9, "adam": 0.9, "adamw": 0.9}
"""What a rule has where none is named; 0 for the others."""


def recipe_of_rule(
    obj: AbstractObjective,
    rule: str,
    theta: Tensor,
    *,
    momentum: float | None,
    weight_decay: float,
    eps: float,
    second: Tensor | None,
    batch_size: int | None,
    maximize: bool,
) -> Recipe:
    """The recipe of a rule with these hyperparameters; see `largest_stable_rate` for what they are."""
    not_negative("weight_decay", weight_decay)
    not_negative("eps", eps)
    if momentum is None or (rule not in MOMENTUM and rule != "rmsprop"):
        momentum = MOMENTUM.get(rule, 0.0)
    coupled, direct = decays(rule, weight_decay, momentum)
    if rule not in ADAPTIVE:
        if second is not None or batch_size is not None:
            raise InvalidArgument(f"second_moment and batch_size are for adaptive optimizers, {rule} is none")
        return Recipe(rule, momentum, coupled=coupled, direct=direct, maximize=maximize)
    if second is None:
        if rule == "adagrad":
            raise InvalidArgument(
                "optimizer 'adagrad' divides by the sum of all squared gradients: pass it as second_moment, or the "
                "optimizer itself"
            )
        second, source = estimated(obj, theta, batch_size)
    else:
        second, source = _given(second, theta), "v̂ as given"
    return Recipe(
        rule,
        momentum,
        preconditioner=second.sqrt() + eps,
        coupled=coupled,
        direct=direct,
        maximize=maximize,
        source=source,
    )


def estimated(obj: AbstractObjective, theta: Tensor, batch_size: int | None) -> tuple[Tensor, str]:
    """E[g²] at θ in the place of v̂, and how it was found."""
    of = "the full gradient" if batch_size is None else f"gradients of {batch_size} samples"
    return second_moment(obj, theta, batch_size), f"v̂ estimated, not of a run: the mean square of {of} here"


def _given(second: Tensor, theta: Tensor) -> Tensor:
    if second.shape != theta.shape:
        raise ShapeMismatch(f"second_moment must have shape {tuple(theta.shape)}, got {tuple(second.shape)}")
    if not bool((second >= 0).all() and second.isfinite().all()):
        raise InvalidArgument("second_moment must be finite and not negative: it is a mean of squares")
    return second.detach().to(theta)
