"""The lecture's selection guide: which optimizer for which task."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.optim.guidance.recommendation import Reason
from thalweg.optim.guidance.task import Task

GUIDE = 'lecture, "Practical optimizer selection guide"'
MODERN = 'lecture, "Modern alternatives to AdamW"'
SECOND = 'lecture, "Second-order and quasi-Newton methods in practice"'
FLAT = 'lecture, "SAM: optimizing for flatness directly"'
SPARSE = 'lecture, "AdaGrad: strengths and weaknesses"'
COMPARED = 'lecture, "Optimizer comparison on benchmark surfaces"'
NOT_ENOUGH = 'lecture, "When ADAM is not enough"'
MUON = "Jordan et al. (2024), Muon"


@dataclass(frozen=True)
class Choice:
    """An optimizer by name, the base that it wraps, if any, why, and (name, when, source) of what else to try."""

    optimizer: str
    reasons: tuple[Reason, ...]
    others: tuple[tuple[str, str, str], ...]
    base: str | None = None

    @property
    def stepping(self) -> str:
        """The optimizer whose rate and decay are to be set: the base, where there is one."""
        return self.base or self.optimizer


def choose(task: Task) -> Choice:
    """The lecture's choice for `task`; the special conditions come before the goals, and both before the default."""
    small = task.least_squares or task.kind in ("scientific", "pinn")
    if (small and task.deterministic is not False) or (task.kind == "general" and task.deterministic):
        return _second_order(task)
    if task.kind in ("sparse", "recommender"):
        return _sparse()
    if task.memory_limited:
        return _small_state()
    match task.goal:
        case "no tuning":
            return _unscheduled()
        case "flatness":
            return _flat(task)
        case "generalization":
            return _flat(task) if task.transformer else _generalizing()
        case "speed" if task.transformer:
            return _fast_transformer(task)
        case _:
            return _default(task)


def _default(task: Task) -> Choice:
    why = "The default starting point, with default betas; still the default in 2026 for most work."
    others = [
        (
            "sgd",
            "with momentum and a tuned schedule, for the best generalization",
            GUIDE,
        ),
        ("lion", "when memory is short: half of Adam's state", MODERN),
        ("schedule_free_adamw", "when no schedule is to be tuned", MODERN),
    ]
    if task.kind == "language" and not task.transformer:
        others.insert(0, ("adagrad", "when the gradients are sparse, as of word embeddings", GUIDE))
    if task.kind == "language" and task.transformer and not task.pretrained:
        others.insert(0, ("sophia_g", "for the speed of language-model pretraining", MODERN))
    reasons = [Reason("optimizer", why, GUIDE)]
    if task.goal == "speed":
        told = "Adam makes fast initial progress and is robust to its hyperparameters."
        reasons.append(Reason("optimizer", told, COMPARED))
    return Choice("adamw", tuple(reasons), tuple(others))


def _second_order(task: Task) -> Choice:
    if task.least_squares:
        why = "It exploits the structure of a sum of squares: JᵀJ in place of the Hessian, no second derivatives."
        size = task.parameters
        if size is not None:
            why += f" JᵀJ has {size:,}² entries, {_bytes(8 * size * size)} in float64."
        others = (("lbfgs", "when JᵀJ is too large, or the loss is no sum of squares", SECOND),)
        first = Choice("levenberg_marquardt", (Reason("optimizer", why, SECOND),), others)
    else:
        why = "The workhorse for physics-informed networks and small scientific problems: deterministic, full-batch."
        others = (("levenberg_marquardt", "when the loss is a sum of squared residuals", SECOND),)
        first = Choice("lbfgs", (Reason("optimizer", why, SECOND),), others)
    if task.deterministic is None:
        told = "Taken for granted: each step can use all data. Noise of minibatches makes curvature estimates brittle."
        reasons = (*first.reasons, Reason("batch", told, SECOND))
    else:
        reasons = first.reasons
    stochastic = ("adamw", "when the data are too many for full batches", GUIDE)
    return Choice(first.optimizer, reasons, (*first.others, stochastic))


def _sparse() -> Choice:
    why = "Excellent for sparse gradients: rarely updated entries keep large steps and catch up."
    limit = "Its sum of squares only grows, so steps shrink for good and training can stop too early."
    return Choice(
        "adagrad",
        (Reason("optimizer", why, SPARSE), Reason("optimizer", limit, SPARSE)),
        (
            ("adam", "when training stalls because AdaGrad's steps have shrunk", GUIDE),
            ("adamw", "the default starting point, when the gradients turn out dense", GUIDE),
        ),
    )


def _small_state() -> Choice:
    why = "Sign of the momentum, no second moment: about half of Adam's optimizer memory."
    return Choice(
        "lion",
        (Reason("optimizer", why, MODERN),),
        (
            (
                "sgd",
                "one tensor of state too, for the best generalization, with a tuned schedule",
                GUIDE,
            ),
            ("adamw", "the default starting point, if the memory suffices after all", GUIDE),
        ),
    )


def _unscheduled() -> Choice:
    why = "Averaging built into the update takes the place of the schedule: no cosine decay to tune."
    return Choice(
        "schedule_free_adamw",
        (Reason("optimizer", why, MODERN),),
        (
            ("schedule_free_sgd", "where SGD generalizes better", "Defazio et al. (2024)"),
            ("adamw", "the default starting point, with a schedule", GUIDE),
        ),
    )


def _flat(task: Task) -> Choice:
    base = "adamw" if task.transformer else "sgd"
    why = (
        "Minimizes the worst loss nearby, so goes to flat minima: better generalization and robustness, especially "
        "for vision transformers and little data."
    )
    cost = "Costs about two gradients per step; it wraps a base optimizer and does not replace it."
    return Choice(
        "sam",
        (Reason("optimizer", why, FLAT), Reason("optimizer", cost, FLAT)),
        (
            ("asam", "when layers are rescaled freely, as by normalization: its ρ is scale-invariant", FLAT),
            ("efficient_sam", "when two gradients per step are too many", FLAT),
            (base, "alone, at half the cost", GUIDE),
        ),
        base,
    )


def _generalizing() -> Choice:
    why = "For the best generalization: SGD with momentum and a tuned rate schedule."
    sharp = "Adam can converge to sharper minima than SGD with momentum, with a lower training and higher test loss."
    return Choice(
        "sgd",
        (Reason("optimizer", why, GUIDE), Reason("optimizer", sharp, NOT_ENOUGH)),
        (
            ("sam", "around it, when two gradients per step are affordable", FLAT),
            ("switch", "Adam to warm up, then SGD with momentum, when SGD alone starts slowly", NOT_ENOUGH),
            ("adamw", "the default starting point, when there is no time to tune a rate", GUIDE),
        ),
    )


def _fast_transformer(task: Task) -> Choice:
    muon = ("muon", "orthogonalized steps for the hidden matrices, AdamW for all other parameters", MUON)
    adamw = ("adamw", "the default starting point", GUIDE)
    if task.kind == "language" and not task.pretrained:
        why = (
            "For the speed of language-model pretraining: its authors report about half of Adam's wall-clock time "
            "on models of the GPT class."
        )
        return Choice("sophia_g", (Reason("optimizer", why, MODERN),), (muon, adamw))
    why = "Orthogonalizes the step of each hidden matrix of a transformer; AdamW steps all other parameters."
    return Choice("muon", (Reason("optimizer", why, MUON),), (adamw,))


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
