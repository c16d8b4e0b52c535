"""Stochastic gradient descent in PyTorch's form, with the rate outside the momentum buffer."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, l2, rate


def update(
    theta: Tensor,
    g: Tensor,
    buffer: Tensor | None,
    lr: Scalar,
    momentum: Scalar,
    fresh: Scalar,
    direct: Scalar,
    kept: Scalar,
    weight_decay: Scalar,
) -> tuple[Tensor | None, ...]:
    """b ← μb + (1−τ)g; θ ← θ − ηb, or θ ← θ − η(g + μb) with Nesterov's momentum (Sutskever et al. 2013).

    `fresh` is 1 − τ, at the first step 1; `direct` and `kept` weigh g and b in the step.
    """
    g = l2(g, theta, weight_decay)
    if buffer is None:
        return theta - lr * g, None
    buffer = momentum * buffer + fresh * g
    if not isinstance(direct, Tensor) and direct == 0:
        return theta - lr * buffer, buffer
    return theta - lr * (direct * g + kept * buffer), buffer


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """η, μ, 1 − τ, the weights of g and b in the step, and λ."""
    momentum, nesterov = group["momentum"], group["nesterov"]
    fresh = 1.0 if t == 1 else 1 - group["dampening"]
    direct, kept = (1.0, momentum) if nesterov else (0.0, 1.0)
    return (rate(group), momentum, fresh, direct, kept, group["weight_decay"]), memory


class SGD(RuleOptimizer):
    """Stochastic gradient descent with momentum μ, dampening τ and Nesterov's momentum, as torch.optim.SGD.

    Arguments, defaults and state are torch's; states are exchanged with it in both directions. State: one tensor per
    parameter with momentum, none without.
    Raises InvalidArgument for a negative rate, decay or momentum, or Nesterov without momentum or with dampening.
    """

    rule = Rule(
        "sgd",
        update,
        scalars,
        state=("momentum_buffer",),
        keeps=lambda group: ("momentum_buffer",) if group["momentum"] else (),
        takes_sparse=True,
        idle_at_zero=lambda group: not group["momentum"] and not group["weight_decay"],
    )

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults, **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        for name in ("momentum", "dampening", "weight_decay"):
            check.nonnegative(group[name], name)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise InvalidArgument(
                f"nesterov=True needs momentum above 0 and no dampening, got momentum={group['momentum']}, "
                f"dampening={group['dampening']}"
            )
