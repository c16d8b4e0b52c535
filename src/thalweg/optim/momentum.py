"""Momentum in the lecture's form, with the rate inside the velocity (Polyak 1964)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def update(
    theta: Tensor, g: Tensor, v: Tensor, lr: Scalar, alpha: Scalar, weight_decay: Scalar
) -> tuple[Tensor, ...]:
    """v ← αv − ηg; θ ← θ + v."""
    v = alpha * v - lr * l2(g, theta, weight_decay)
    return theta + v, v


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, α and λ."""
    return (rate(group), group["momentum"], group["weight_decay"]), memory


class Momentum(RuleOptimizer):
    """Momentum in the lecture's form: v ← αv − ηg; θ ← θ + v.

    `lr` η, `momentum` α, `weight_decay` λ (coupled). torch's SGD keeps η outside its buffer: the two agree while η
    is constant and differ under a schedule, where a velocity gathered at a high rate goes on here. On a quadratic it
    is stable for η < 2(1+α)/λmax. State: one tensor per parameter.
    Raises InvalidArgument for a negative rate or decay, or a momentum outside [0, 1).
    """

    rule = Rule("momentum", update, scalars, state=("velocity",), takes_sparse=True)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        check.averaging(group["momentum"], "momentum")
        check.nonnegative(group["weight_decay"], "weight_decay")
