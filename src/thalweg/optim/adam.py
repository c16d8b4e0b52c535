"""Adam: running means of the gradient and of its square, corrected for their start (Kingma & Ba 2015)."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def step(
    g: Tensor,
    m: Tensor,
    v: Tensor,
    largest: Tensor | None,
    lr: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    root: Scalar,
    eps: Scalar,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; the step η m̂/(√v̂ + ε), m, v and the largest v.

    `lr` is η/(1−β₁ᵗ) and `root` is 1/√(1−β₂ᵗ), so that `lr`·m = η m̂ and `root`·√v = √v̂. AMSGrad (Reddi et al.
    2018) keeps the largest v seen and divides by that.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    largest = None if largest is None else torch.maximum(largest, v)
    return lr * m / (root * (v if largest is None else largest).sqrt() + eps), m, v, largest


def update(
    theta: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    largest: Tensor | None,
    lr: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    root: Scalar,
    eps: Scalar,
    weight_decay: Scalar,
) -> tuple[Tensor | None, ...]:
    """θ ← θ − η m̂/(√v̂ + ε), with g + λθ for g."""
    adaptive, *state = step(l2(g, theta, weight_decay), m, v, largest, lr, beta1, beta2, root, eps)
    return theta - adaptive, *state


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η/(1−β₁ᵗ), β₁, β₂, 1/√(1−β₂ᵗ), ε and λ."""
    beta1, beta2 = (float(beta) for beta in group["betas"])
    lr, root = rate(group) / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    return (lr, beta1, beta2, root, group["eps"], group["weight_decay"]), memory


def keeps(group: Group) -> tuple[str, ...]:
    """The two means, and the largest second one for AMSGrad."""
    return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))


def check_adam(group: dict[str, Any]) -> None:
    """Raise InvalidArgument for a hyperparameter of Adam out of its range."""
    check.rate(group["lr"])
    check.betas(group["betas"])
    check.nonnegative(group["eps"], "eps")
    check.nonnegative(group["weight_decay"], "weight_decay")


class Adam(RuleOptimizer):
    """Adam: θ ← θ − η m̂/(√v̂ + ε), with weight decay, if any, as an L2 penalty in the gradient.

    Arguments, defaults and state are those of torch.optim.Adam. The penalty passes through the division by √v̂, so
    parameters with large gradients decay less: `AdamW` decays evenly. State: two tensors per parameter, three with
    `amsgrad`. Raises InvalidArgument for a negative or non-finite hyperparameter or betas outside [0, 1).
    """

    rule = Rule("adam", update, scalars, state=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), keeps=keeps)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check_adam(group)
        if group.get("decoupled_weight_decay"):
            raise InvalidArgument("decoupled_weight_decay must be False in Adam: load this state into AdamW")
