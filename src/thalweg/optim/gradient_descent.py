"""Gradient descent: θ ← θ − ηg."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def update(theta: Tensor, g: Tensor, lr: Scalar, weight_decay: Scalar) -> tuple[Tensor, ...]:
    """One step of gradient descent (Cauchy 1847); weight decay is the gradient of ½λ‖θ‖²."""
    return (theta - lr * l2(g, theta, weight_decay),)


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η and λ."""
    return (rate(group), group["weight_decay"]), memory


class GradientDescent(RuleOptimizer):
    """Gradient descent, θ ← θ − ηg: torch's SGD without momentum.

    `lr` η, `weight_decay` λ (coupled: g ← g + λθ). On a quadratic it is stable for η < 2/λmax. No state.
    Raises InvalidArgument for a negative or non-finite hyperparameter.
    """

    rule = Rule(
        "gradient_descent",
        update,
        scalars,
        takes_sparse=True,
        idle_at_zero=lambda group: not group["weight_decay"],
    )

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        *,
        weight_decay: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        check.nonnegative(group["weight_decay"], "weight_decay")
