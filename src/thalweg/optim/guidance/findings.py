"""What the curvature and the losses measured in a run say of the choice."""

from __future__ import annotations

import math

from thalweg.numbers import number, with_error
from thalweg.optim.guidance.choice import Choice
from thalweg.optim.guidance.evidence import Evidence
from thalweg.optim.guidance.recommendation import Reason
from thalweg.optim.guidance.task import Task

_SUMMARY = 'lecture, "Landscape pathologies summary"'
_MOMENTUM = 'lecture, "Momentum on the elongated bowl"'
_NORMALIZER = 'lecture, "ADAM as landscape normalizer"'
_SADDLE = 'lecture, "Saddle point dynamics under gradient descent"'
_SECOND = 'lecture, "Second-order and quasi-Newton methods in practice"'
_FLAT = 'lecture, "SAM: optimizing for flatness directly"'
_NOT_ENOUGH = 'lecture, "When ADAM is not enough"'


def findings(choice: Choice, task: Task, known: Evidence) -> tuple[Reason, ...]:
    """Reasons for or against the optimizer from condition number and saddle directions."""
    return (*_conditioning(choice, known), *_saddle(choice, task, known))


def overfitting(known: Evidence) -> tuple[str, float] | None:
    """What the gap between the losses is, if it is beyond twice its error, and how large."""
    if known.gap is None or known.gap_error is None or not known.gap > 2 * known.gap_error:
        return None
    return f"the test loss is {with_error(known.gap, known.gap_error)} above the training loss", known.gap


def _conditioning(choice: Choice, known: Evidence) -> tuple[Reason, ...]:
    condition = known.condition
    if condition is not None:
        plain, heavy = _steps(condition), _steps(math.sqrt(condition))
        told = (
            f"κ = {number(condition, 3)} here: for each factor of ten, plain gradient descent needs "
            f"{number(plain, 2)} full-batch steps, momentum {number(heavy, 2)}, each at its best rate."
        )
        evidence = {"condition": condition, "steps": plain, "momentum_steps": heavy}
        return (Reason("optimizer", told, _MOMENTUM, evidence), *_means(choice))
    if known.largest is None or known.mean is None or known.mean <= 0:
        return ()
    spread = known.largest / known.mean
    told = (
        f"The steepest direction curves {number(spread, 3)} times as much as the mean of all: one rate for all is a "
        "compromise, which momentum or rates for each parameter ease."
    )
    return (Reason("optimizer", told, _SUMMARY, {"largest_over_mean": spread}), *_means(choice))


def _means(choice: Choice) -> tuple[Reason, ...]:
    if choice.stepping not in ("adamw", "adam", "adagrad"):
        return ()
    told = "Rates for each parameter even curvature out, as far as it lies along the coordinate axes."
    return (Reason("optimizer", told, _NORMALIZER),)


def _saddle(choice: Choice, task: Task, known: Evidence) -> tuple[Reason, ...]:
    if not known.downward:
        return ()
    count = "1 direction curves" if known.downward == 1 else f"{known.downward} directions curve"
    evidence = {"downward_directions": float(known.downward)}
    if known.smallest is not None:
        evidence["smallest_eigenvalue"] = known.smallest
    if choice.optimizer in ("lbfgs", "levenberg_marquardt"):
        told = f"{count} downward at the point measured: plain Newton would step up to a saddle, this rule does not."
        return (Reason("optimizer", told, _SECOND, evidence),)
    means = "momentum leaves" if task.deterministic else "noise of minibatches and momentum leave"
    told = f"{count} downward at the point measured: {means} a saddle sooner."
    return (Reason("optimizer", told, _SADDLE, evidence),)


def remedies(choice: Choice, known: Evidence) -> tuple[tuple[str, str, str], ...]:
    """What else to try where the run fits the training data better than the test data."""
    found = overfitting(known)
    if found is None:
        return ()
    told, _ = found
    others = [("sam", f"{told}: a flatter minimum may carry over better", _FLAT)]
    others.append(("sgd", f"{told}: with momentum and a tuned schedule", _NOT_ENOUGH))
    return tuple(other for other in others if other[0] not in (choice.optimizer, choice.stepping))


def _steps(condition: float) -> float:
    """Steps for a factor of ten, at the factor (c − 1)/(c + 1) in each."""
    return 1.0 if condition <= 1 else max(1.0, math.log(10) / math.log((condition + 1) / (condition - 1)))
