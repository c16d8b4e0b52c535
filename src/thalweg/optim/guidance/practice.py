"""Schedule, batch, weight decay and clipping that go with an optimizer."""

from __future__ import annotations

from typing import Any

from thalweg.optim.guidance.choice import Choice
from thalweg.optim.guidance.evidence import Evidence
from thalweg.optim.guidance.recommendation import Reason, literal
from thalweg.optim.guidance.task import Task

_SCHEDULES = 'lecture, "Learning rate schedules"'
_BATCH = 'lecture, "Batch size and gradient noise"'
_SCALING = 'lecture, "The learning rate–batch size relationship"'
_SECOND = 'lecture, "Second-order and quasi-Newton methods in practice"'
_MODERN = 'lecture, "Modern alternatives to AdamW"'
_CLIPPING = 'lecture, "Exploding gradients and gradient clipping"'
_DECOUPLED = 'lecture, "AdamW: decoupled weight decay"'

_SECOND_ORDER = ("lbfgs", "levenberg_marquardt")
_ALL_DATA = "all data in every step"


def schedule(choice: Choice, lr: float | None) -> tuple[str, Reason]:
    """The schedule and why."""
    name, top = choice.stepping, "lr" if lr is None else literal(lr)
    after_warmup = f"tw.schedules.warmup(w, then=tw.schedules.cosine({top}, steps=n))"
    match name:
        case "lbfgs" | "levenberg_marquardt":
            told = "Line search or damping choose each step's length anew."
            return "none", Reason("schedule", told, _SECOND)
        case "schedule_free_adamw" | "schedule_free_sgd":
            told = (
                "The average of the iterates replaces it, without warm-up or cosine to tune. Call optimizer.train() "
                "before training and optimizer.eval() before evaluating or saving."
            )
            return "none", Reason("schedule", told, _MODERN)
        case "adagrad":
            told = "Its effective rate decays by itself, so that another decay would add to the stalling."
            return "constant", Reason("schedule", told, 'lecture, "AdaGrad: accumulate squared gradients"')
        case "sgd":
            told = "Generalization asks for a tuned schedule: start small, ramp up, then decay, by cosine or by steps."
        case _:
            told = "Start small, ramp up linearly, then decay; cosine annealing is smooth and widely used."
    return f"{after_warmup} for n steps, w of them to warm up", Reason("schedule", told, _SCHEDULES)


def batch(choice: Choice, task: Task, known: Evidence) -> tuple[str, tuple[Reason, ...]]:
    """Advice on the batch size and why."""
    name, size = choice.stepping, task.batch_size or known.batch_size
    if name in _SECOND_ORDER:
        told = "Differences of noisy gradients make curvature estimates brittle."
        if task.deterministic:
            told = "As the task has it: without noise, differences of gradients show the curvature."
        return _ALL_DATA, (Reason("batch", told, _SECOND),)
    reasons: list[Reason] = []
    if known.batch_size is not None:
        told = f"The run used batches of {known.batch_size:,}: its rate belongs to that size."
        reasons.append(Reason("batch", told, "measured in the run", {"batch_size": known.batch_size}))
    if task.deterministic:
        told = "As the task has it."
        if choice.optimizer != "sam":
            told += " No noise regularizes then, and large batches may converge to sharper minima."
        reasons.append(Reason("batch", told, _BATCH))
        return _ALL_DATA, tuple(reasons)
    if choice.optimizer != "sam" and task.goal != "speed":
        told = "Noise of small batches regularizes; large ones may converge to sharper minima."
        reasons.append(Reason("batch", told, _BATCH))
    linear = name == "sgd"
    rule = "linear" if linear else "sqrt"
    told = "With k times the batch take " + (
        "k times the rate, with a warm-up" if linear else "√k times the rate"
    )
    told += ", up to the gradient noise scale; beyond it a larger batch gains little."
    reasons.append(Reason("batch", told, _SCALING))
    if name == "lion":
        told = "Its advantage over AdamW grows with the batch size."
        reasons.append(Reason("batch", told, "Chen et al. (2023), Lion"))
    start = "the size that you have now" if size is None else f"{size:,}"
    return f'{start}; for another size tw.schedules.scale_rate(lr, batch, new_batch, rule="{rule}")', tuple(
        reasons
    )


def weight_decay(
    choice: Choice, known: Evidence, defaults: dict[str, Any] | None, adamw: dict[str, Any] | None
) -> tuple[float | None, Reason]:
    """The weight decay and why; None where it is to be tuned."""
    name = choice.stepping
    default = None if defaults is None else defaults.get("weight_decay")
    match name:
        case "lbfgs" | "levenberg_marquardt":
            told = "A penalty belongs in the loss, where the line search or the gain ratio sees it."
            return 0.0, Reason("weight decay", told, _SECOND)
        case "adamw":
            told = "The default, decoupled from the adaptive step, so that all parameters decay evenly."
            return default, Reason("weight decay", told, _DECOUPLED)
        case "lion" if adamw is not None:
            told = (
                f"AdamW's {adamw['weight_decay']:g} times 10, as the rate is 10 times smaller: the strength is the "
                "product of both."
            )
            return 10 * float(adamw["weight_decay"]), Reason("weight decay", told, "Chen et al. (2023), Lion")
        case "adagrad":
            told = "A penalty would pass through the division by √G, and make sparse gradients dense."
            return 0.0, Reason("weight decay", told, _DECOUPLED)
        case "sophia_g" | "muon" if default is not None:
            told = "The default of its class, which follows its paper; decoupled."
            return float(default), Reason("weight decay", told, "its class in thalweg.optim")
        case "sgd" if known.plain_descent and known.weight_decay is not None:
            told = f"{known.weight_decay:g}, as in the run."
            evidence = {"weight_decay": known.weight_decay}
            return known.weight_decay, Reason("weight decay", told, "measured in the run", evidence)
        case _:
            told = "Neither the lecture nor a default gives one: tune it on the held-out set."
            return None, Reason("weight decay", told, 'lecture, "Practical optimizer selection guide"')


def clipping(choice: Choice, task: Task) -> tuple[float | None, tuple[Reason, ...]]:
    """The largest norm of the gradient, for transformers, language models and recurrent networks.

    None for rules that take curvature from differences of gradients, which clipping would falsify.
    """
    if choice.stepping in _SECOND_ORDER or not (
        task.transformer or task.recurrent or task.kind == "language"
    ):
        return None, ()
    told = "Near-universal for transformers, recurrent networks and language models; typical c ≈ 1.0."
    return 1.0, (Reason("clipping", told, _CLIPPING),)
