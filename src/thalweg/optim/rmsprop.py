"""RMSProp: AdaGrad with a running mean instead of the sum (Tieleman & Hinton 2012; centred: Graves 2013)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def update(
    theta: Tensor,
    g: Tensor,
    square: Tensor,
    mean: Tensor | None,
    velocity: Tensor | None,
    lr: Scalar,
    gamma: Scalar,
    eps: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
) -> tuple[Tensor | None, ...]:
    """E ← γE + (1−γ)g²; θ ← θ − ηg/(√E + ε).

    Centred: m ← γm + (1−γ)g, and E − m² takes the place of E. With momentum: u ← μu + g/(√E + ε); θ ← θ − ηu.
    """
    g = l2(g, theta, weight_decay)
    square = gamma * square + (1 - gamma) * g * g
    variance = square
    if mean is not None:
        mean = gamma * mean + (1 - gamma) * g
        # Rounding may leave it below zero where the gradient hardly varies.
        variance = (square - mean * mean).clamp(min=0)
    step = g / (variance.sqrt() + eps)
    if velocity is not None:
        step = velocity = momentum * velocity + step
    return theta - lr * step, square, mean, velocity


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, γ, ε, μ and λ."""
    return (
        rate(group),
        group["alpha"],
        group["eps"],
        group["momentum"],
        group["weight_decay"],
    ), memory


def keeps(group: Group) -> tuple[str, ...]:
    """The running mean where centred, the velocity where there is momentum."""
    mean = ("grad_avg",) if group["centered"] else ()
    velocity = ("momentum_buffer",) if group["momentum"] > 0 else ()
    return ("square_avg", *mean, *velocity)


class RMSProp(RuleOptimizer):
    """RMSProp: E ← γE + (1−γ)g²; θ ← θ − ηg/(√E + ε).

    Arguments and state are those of torch.optim.RMSprop. The defaults of γ, called `alpha` as in torch, and ε are
    0.9 and 1e-8, the lecture's and Hinton's; torch has 0.99. State: one tensor per parameter, one more where
    `centered`, one more with `momentum`.
    Raises InvalidArgument for a negative or non-finite hyperparameter or an `alpha` outside [0, 1).
    """

    rule = Rule("rmsprop", update, scalars, state=("square_avg", "grad_avg", "momentum_buffer"), keeps=keeps)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.9,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        check.averaging(group["alpha"], "alpha")
        for name in ("eps", "momentum", "weight_decay"):
            check.nonnegative(group[name], name)
