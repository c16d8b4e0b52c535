"""Lion: the sign of an interpolated momentum, found by symbolic search (Chen et al. 2023)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, rate


def update(
    theta: Tensor, g: Tensor, m: Tensor, lr: Scalar, beta1: Scalar, beta2: Scalar, shrink: Scalar
) -> tuple[Tensor, ...]:
    """c = β₁m + (1−β₁)g; θ ← θ − η(sign c + λθ); m ← β₂m + (1−β₂)g. `shrink` is ηλ."""
    c = beta1 * m + (1 - beta1) * g
    m = beta2 * m + (1 - beta2) * g
    return theta - lr * c.sign() - shrink * theta, m


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, β₁, β₂ and ηλ."""
    beta1, beta2 = (float(beta) for beta in group["betas"])
    lr = rate(group)
    return (lr, beta1, beta2, lr * group["weight_decay"]), memory


class Lion(RuleOptimizer):
    """Lion: c = β₁m + (1−β₁)g; θ ← θ − η(sign c + λθ); m ← β₂m + (1−β₂)g.

    Every entry moves by ±η, so it wants a rate 3 to 10 times smaller than AdamW's and a decay as much larger.
    `lr` η, `betas` (β₁, β₂), `weight_decay` λ (decoupled); the paper's defaults. State: one tensor per parameter,
    half of Adam's. Raises InvalidArgument for a negative or non-finite hyperparameter or betas outside [0, 1).
    """

    rule = Rule("lion", update, scalars, state=("exp_avg",))

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        check.betas(group["betas"])
        check.nonnegative(group["weight_decay"], "weight_decay")
