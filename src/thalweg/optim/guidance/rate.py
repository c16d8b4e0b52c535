"""The learning rate for a choice: the lecture's, the paper's, or from what a run measured."""

from __future__ import annotations

import math
from typing import Any

from thalweg.numbers import number
from thalweg.optim.guidance.choice import Choice
from thalweg.optim.guidance.evidence import Evidence
from thalweg.optim.guidance.recommendation import Reason
from thalweg.optim.guidance.task import Task

MOMENTUM = 0.9
"""The lecture's typical α."""
_BACKBONE = 100
"""How much smaller the lecture has the rate of pretrained layers."""
_LECTURE = 'lecture, "Practical optimizer selection guide"'
_EDGE = 'lecture, "Vanilla GD on ill-conditioned surface"'
_LAYERS = 'lecture, "Curvature explains differential learning rates"'
_CRITICAL = 'lecture, "Learning rate as the most critical hyperparameter"'
_MEASURED = "measured in the run"


def rate(
    choice: Choice, task: Task, known: Evidence, defaults: dict[str, Any] | None
) -> tuple[float | None, float | None, tuple[Reason, ...]]:
    """The rate, that of pretrained layers, and why; None where nothing gives one."""
    name = choice.stepping
    if name == "lbfgs":
        return None, None, (Reason("rate", "A strong-Wolfe line search finds the step.", "Wolfe (1969)"),)
    if name == "levenberg_marquardt":
        told = "The damping, adapted by the gain ratio, sets the length of the step."
        return None, None, (Reason("rate", told, "Marquardt (1963)"),)
    lr, reasons = _start(name, known, defaults)
    lr, found = _after_divergence(name, lr, known)
    reasons = [*reasons, *found]
    if not task.pretrained:
        return lr, None, tuple(reasons)
    told = (
        f"Pretrained layers are near a good minimum, which large steps leave: {_BACKBONE} times smaller a rate for "
        "them than for the new head, or freeze them."
    )
    backbone = None if lr is None else lr / _BACKBONE
    return lr, backbone, (*reasons, Reason("rate", told, _LAYERS))


def _start(name: str, known: Evidence, defaults: dict[str, Any] | None) -> tuple[float | None, list[Reason]]:
    """The rate before a look at whether the run diverged."""
    if name == "sgd":
        return _descent_rate(known)
    lr = None if defaults is None else defaults.get("lr")
    match name:
        case "adamw" | "adam":
            lr, reason = 1e-3, Reason("rate", "The default η = 1e-3 is the starting point.", _LECTURE)
        case "lion":
            told = "Every entry moves by η: 3 to 10 times smaller a rate than AdamW's."
            reason = Reason("rate", told, "Chen et al. (2023), Lion")
        case "schedule_free_adamw":
            reason = Reason("rate", "The authors' default.", "Defazio et al. (2024)")
        case "adagrad":
            reason = Reason("rate", "The default of torch.optim.Adagrad.", "PyTorch")
        case _:
            told = "Start from its paper's settings, and tune on half-decades."
            if lr is not None:
                told = "The default of its class, which follows its paper; tune it on half-decades."
            reason = Reason("rate", told, _CRITICAL)
    reasons = [reason]
    if known.optimizer == name and known.lr is not None and not known.diverged:
        told = f"{known.lr:g} was used with {name} and did not diverge."
        reasons.append(Reason("rate", told, _MEASURED, {"lr": known.lr}))
        lr = known.lr
    if known.largest is not None and known.largest > known.largest_error:
        edge = 2 / known.largest
        told = (
            f"2/λmax = {number(edge, 3)} (λmax = {number(known.largest, 4)}) limits gradient descent here, and is no "
            "limit for this rule, whose edge depends on its state."
        )
        evidence = {"lambda_max": known.largest, "gradient_descent_edge": edge}
        reasons.append(Reason("rate", told, "Cohen et al. (2022)", evidence))
    return lr, reasons


def _descent_rate(known: Evidence) -> tuple[float | None, list[Reason]]:
    """SGD with momentum: half of gradient descent's limit, where λmax was measured."""
    if known.largest is None:
        told = "Tune it on half-decades: the lecture names no rate for SGD. A survey measures how large it may be."
        return None, [Reason("rate", told, _LECTURE)]
    # Here, so that whoever imports an optimizer does not wait for all that measures curvature.
    from thalweg.curvature.stability import stable_rate

    decay = known.weight_decay or 0.0
    plain = stable_rate(known.largest, known.largest_error, "sgd", 0.0, decay)
    heavy = stable_rate(known.largest, known.largest_error, "momentum", MOMENTUM, decay)
    if not math.isfinite(plain.rate):
        told = (
            f"No direction curves upward beyond the error (λmax = {number(known.largest, 3)}): no rate is too large "
            "at this point, and none follows from it."
        )
        return None, [Reason("rate", told, _EDGE, {"lambda_max": known.largest})]
    evidence = {"lambda_max": known.largest, "edge": plain.rate, "momentum_edge": heavy.rate}
    told = (
        f"λmax = {number(known.largest, 4)}: full-batch gradient descent is stable up to {number(plain.rate, 3)} "
        f"({plain.formula}), with momentum up to {number(heavy.rate, 3)} ({heavy.formula})."
    )
    half = plain.rate / 2
    reasons = [
        Reason("rate", told, _EDGE, evidence),
        Reason(
            "rate",
            f"Half of the first, {number(half, 3)}, is the rate at which the guaranteed decrease per step is largest.",
            "Nesterov (2004), Introductory lectures on convex optimization, section 1.2.3",
            {"half_edge": half},
        ),
        Reason(
            "rate",
            "λmax belongs to this point: full-batch training drives it toward the limit of the rate that is used.",
            "Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge of stability",
        ),
    ]
    if known.plain_descent and known.lr is not None and not known.diverged:
        own = stable_rate(
            known.largest, known.largest_error, str(known.optimizer), known.momentum or 0.0, decay
        )
        share = known.lr / own.rate
        told = f"{known.lr:g} was used, {number(share, 2)} of the limit {number(own.rate, 3)} of {known.optimizer}"
        told += ": it is kept." if share <= 1 and known.lr <= heavy.rate else ": too large without a decay."
        reasons.append(Reason("rate", told, _MEASURED, {"lr": known.lr, "ratio": share}))
        if share <= 1 and known.lr <= heavy.rate:
            half = known.lr
    return half, reasons


def _after_divergence(
    name: str, lr: float | None, known: Evidence
) -> tuple[float | None, tuple[Reason, ...]]:
    """A rate below one at which the run diverged with a rule of the same kind."""
    if not known.diverged or known.lr is None:
        return lr, ()
    alike = known.optimizer == name or (name == "sgd" and known.plain_descent)
    if not alike:
        told = (
            f"The run diverged with {known.optimizer} at {known.lr:g}, which says little of this rule's rate."
        )
        return lr, (Reason("rate", told, _MEASURED, {"lr": known.lr}),)
    below = known.lr / math.sqrt(10)
    told = f"The run diverged with {known.optimizer} at {known.lr:g}: at most half a decade below, {number(below, 3)}."
    lower = below if lr is None else min(lr, below)
    return lower, (Reason("rate", told, _CRITICAL, {"lr": known.lr}),)
