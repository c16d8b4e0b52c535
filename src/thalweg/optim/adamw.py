"""AdamW: Adam with weight decay outside the adaptive step (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.optim import adam
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, rate


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
    shrink: Scalar,
) -> tuple[Tensor | None, ...]:
    """θ ← θ − η(m̂/(√v̂ + ε) + λθ), `shrink` being ηλ."""
    adaptive, *state = adam.step(g, m, v, largest, lr, beta1, beta2, root, eps)
    return theta - adaptive - shrink * theta, *state


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """Adam's, with ηλ for λ."""
    (*others, _), memory = adam.scalars(t, group, memory)
    return (*others, rate(group) * group["weight_decay"]), memory


class AdamW(RuleOptimizer):
    """AdamW: θ ← θ − η(m̂/(√v̂ + ε) + λθ).

    Arguments, defaults and state are those of torch.optim.AdamW. State: two tensors per parameter, three with
    `amsgrad`. Raises InvalidArgument for a negative or non-finite hyperparameter or betas outside [0, 1).
    """

    rule = Rule("adamw", update, scalars, state=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), keeps=adam.keeps)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        adam.check_adam(group)
