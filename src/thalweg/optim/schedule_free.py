"""Schedule-Free SGD and AdamW: averaging in place of a schedule (Defazio et al. 2024)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Unpack

from torch import Tensor

from thalweg.optim.driver import hyperparameters as check
from thalweg.optim.driver.optimizer import Options, Params, RuleOptimizer
from thalweg.optim.driver.rule import Group, Rule, Scalar, rate


def evaluation_point(x: Tensor, z: Tensor, *others: Any) -> Tensor:
    """y = (1−β)z + βx, where the gradient is taken."""
    beta = others[-1]
    return (1 - beta) * z + beta * x


def iterate(y: Tensor, z: Tensor, *others: Any) -> Tensor:
    """x = (y − (1−β)z)/β, the average."""
    beta = others[-1]
    return (y - (1 - beta) * z) / beta


def update(
    x: Tensor, g: Tensor, z: Tensor, gamma: Scalar, beta: Scalar, c: Scalar, weight_decay: Scalar
) -> tuple[Tensor, ...]:
    """z ← z − γ(g + λy); x ← (1−c)x + cz."""
    z = z - gamma * (g + weight_decay * evaluation_point(x, z, beta))
    return (1 - c) * x + c * z, z


def update_adamw(
    x: Tensor,
    g: Tensor,
    z: Tensor,
    v: Tensor,
    gamma: Scalar,
    beta: Scalar,
    c: Scalar,
    weight_decay: Scalar,
    beta2: Scalar,
    root: Scalar,
    eps: Scalar,
) -> tuple[Tensor, ...]:
    """v ← β₂v + (1−β₂)g²; then as above with g/(√v̂ + ε) for g. `root` is 1/√(1−β₂ᵗ)."""
    v = beta2 * v + (1 - beta2) * g * g
    x, z = update(x, g / (root * v.sqrt() + eps), z, gamma, beta, c, weight_decay)
    return x, z, v


def _averaging(
    t: int, group: Group, beta: float, memory: dict[str, float]
) -> tuple[tuple[float, ...], dict[str, float]]:
    """γ (with the warm-up), β, c and λ; c = w/Σw with w = tʳ·(largest γ so far)^power."""
    warm = min(1.0, t / group["warmup_steps"]) if group["warmup_steps"] else 1.0
    gamma = rate(group) * warm
    largest = max(gamma, memory["largest_rate"])
    weight = t ** group["r"] * largest ** group["weight_lr_power"]
    total = memory["weight_sum"] + weight
    c = weight / total if total else 0.0
    after = {"mixing": beta, "weight_sum": total, "largest_rate": largest}
    return (gamma, beta, c, group["weight_decay"]), after


def scalars(t: int, group: Group, memory: dict[str, float]) -> tuple[tuple[float, ...], dict[str, float]]:
    """γ, β, c and λ."""
    return _averaging(t, group, group["momentum"], memory)


def scalars_adamw(
    t: int, group: Group, memory: dict[str, float]
) -> tuple[tuple[float, ...], dict[str, float]]:
    """γ, β, c, λ, β₂, 1/√(1−β₂ᵗ) and ε."""
    beta1, beta2 = (float(beta) for beta in group["betas"])
    averaging, after = _averaging(t, group, beta1, memory)
    return (*averaging, beta2, 1 / math.sqrt(1 - beta2**t), group["eps"]), after


# With mixing 1 the first point is x itself.
MEMORY = {"mixing": 1.0, "weight_sum": 0.0, "largest_rate": 0.0}


def _copy(theta: Tensor, group: Group) -> Tensor:
    return theta.clone()


_averaged = partial(
    Rule, initial={"z": _copy}, memory=MEMORY, evaluation_point=evaluation_point, iterate=iterate
)
"""A rule of this kind from its name, update, scalars and state."""

_AVERAGING = ("weight_decay", "warmup_steps", "r", "weight_lr_power")


class ScheduleFree(RuleOptimizer):
    """What both share: the weights of the average; they differ in how z is updated."""

    def __init__(
        self, params: Params, defaults: dict[str, Any], averaging: tuple[float, ...], options: Options
    ) -> None:
        super().__init__(params, defaults | dict(zip(_AVERAGING, averaging, strict=True)), **options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        check.rate(group["lr"])
        for name in _AVERAGING:
            check.nonnegative(group[name], name)


class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free SGD: g at y = (1−β)z + βx; z ← z − γ(g + λy); x ← (1−c)x + cz.

    In training mode the parameters hold y, where loss and gradient are to be computed. Call `eval()` before the
    model is evaluated or saved for use (the parameters then hold the average x) and `train()` before training goes
    on; `step()` in evaluation mode is an error. Running batch-norm statistics belong to y: run a few training
    batches through the model in training mode after `eval()` to have those of x.

    `lr` γ, `momentum` β, `weight_decay` λ (at y), `warmup_steps` of linear warm-up; `r` and `weight_lr_power` weigh
    the average by tʳ·γmax^power. Defaults are the authors'. No schedule is needed beside it. State: one tensor per
    parameter. Raises InvalidArgument for negative hyperparameters or a momentum outside (0, 1).
    """

    rule = _averaged("schedule_free_sgd", update, scalars, state=("z",))

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **options: Unpack[Options],
    ) -> None:
        averaging = (weight_decay, warmup_steps, r, weight_lr_power)
        super().__init__(params, {"lr": lr, "momentum": momentum}, averaging, options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        super().check_group(group)
        check.mixing(group["momentum"], "momentum")


class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW: as `ScheduleFreeSGD`, with g/(√v̂ + ε) for g.

    `train()` and `eval()` move the parameters as there, and batch-norm statistics want the same care.

    `lr` γ, `betas` (β, β₂), `eps` ε, `weight_decay` λ (at y), `warmup_steps` of linear warm-up, `r` and
    `weight_lr_power` as there. Defaults are the authors'. State: two tensors per parameter, as Adam.
    Raises InvalidArgument for negative hyperparameters, β outside (0, 1) or β₂ outside [0, 1).
    """

    rule = _averaged("schedule_free_adamw", update_adamw, scalars_adamw, state=("z", "exp_avg_sq"))

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **options: Unpack[Options],
    ) -> None:
        averaging = (weight_decay, warmup_steps, r, weight_lr_power)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps}, averaging, options)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InvalidArgument for a hyperparameter out of its range."""
        super().check_group(group)
        check.nonnegative(group["eps"], "eps")
        check.betas(group["betas"])
        check.mixing(group["betas"][0], "betas[0]")
