"""AdaGrad: a rate per parameter that falls with the squares of all its gradients (Duchi et al. 2011)."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def update(
    theta: Tensor, g: Tensor, total: Tensor, lr: Scalar, eps: Scalar, weight_decay: Scalar
) -> tuple[Tensor, ...]:
    """G ← G + g²; θ ← θ − ηg/(√G + ε)."""
    g = l2(g, theta, weight_decay)
    total = total + g * g
    return theta - lr * g / (total.sqrt() + eps), total


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η/(1 + (t−1)d) with torch's rate decay d, ε and λ."""
    lr = rate(group) / (1 + (t - 1) * group["lr_decay"])
    return (lr, group["eps"], group["weight_decay"]), memory


class AdaGrad(RuleOptimizer):
    """AdaGrad: G ← G + g²; θ ← θ − ηg/(√G + ε).

    Arguments, defaults and state are those of torch.optim.Adagrad. G only grows, so the rate only falls. Sparse
    gradients update only their own entries. State: one tensor per parameter.
    Raises InvalidArgument for a negative or non-finite hyperparameter.
    """

    rule = Rule(
        "adagrad",
        update,
        scalars,
        state=("sum",),
        initial={"sum": lambda theta, group: torch.full_like(theta, group["initial_accumulator_value"])},
        takes_sparse=True,
        idle_at_zero=lambda group: not group["weight_decay"],
    )

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **options: Unpack[Options],
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            check.nonnegative(group[name], name)
