"""The largest stable learning rate of the optimizer that a model is trained with, and of its kin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from thalweg import checks
from thalweg.curvature import Eigenpairs, StableRate, eigenpairs, hessian, largest_stable_rate, stable_rate
from thalweg.curvature.stability.edges import ADAPTIVE, RULES, decays, edge_of
from thalweg.curvature.stability.recipe import MOMENTUM, estimated
from thalweg.objective import AbstractObjective, Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys.optimizers import make_optimizer
from thalweg.surveys.training import restore

DOWNHILL = "Descent leaves this point at any rate, for its Hessian has no positive eigenvalue."
_PLAIN_KIN, _ADAPTIVE_KIN = ("sgd", "momentum", "nesterov"), ("adam", "rmsprop")


def stability_of(
    objective: AbstractObjective,
    training: Training,
    theta: Tensor | None = None,
    pairs: Eigenpairs | None = None,
    *,
    seed: int = 0,
) -> StableRate:
    """The edge of the optimizer that `training` describes, and its rate against it, at θ (n,).

    From the first of `pairs` where these are known and the rule is not adaptive. Of an adaptive one v̂ is estimated from
    gradients of batches of the training's size. Raises InvalidArgument for an optimizer whose edge is not known.
    """
    rule, momentum = training.optimizer, _momentum(training)
    checks.one_of("optimizer", rule, RULES)
    if pairs is not None and rule not in ADAPTIVE:
        value, residual = float(pairs.values[0]), float(pairs.residuals[0])
        found = stable_rate(value, residual, rule, momentum or 0.0, training.weight_decay)
        return replace(found, used=training.lr, converged=bool(pairs.converged[0]))
    sampled = rule in ADAPTIVE and isinstance(objective, Objective)
    found = largest_stable_rate(
        objective,
        rule,
        momentum=momentum,
        weight_decay=training.weight_decay,
        batch_size=training.batch_size if sampled else None,
        theta=theta,
        seed=seed,
    )
    return replace(found, used=training.lr)


def stability_in_run(objective: Objective, training: Training, place: Path, *, seed: int = 0) -> StableRate:
    """The edge of the optimizer itself, with the state that it had after the last epoch in the run folder `place`."""
    checks.one_of("optimizer", training.optimizer, RULES)
    optimizer = make_optimizer(training, objective.model, objective)
    with Run.read(place) as run:
        restore(run, objective.model, optimizer)
    return largest_stable_rate(objective, optimizer, seed=seed)


def kin(objective: AbstractObjective, *, batch_size: int | None = None, seed: int = 0) -> list[StableRate]:
    """The edges of well-known rules, each with its defaults, at the objective's own point.

    With `batch_size` the adaptive ones divide by the root mean square of gradients of that many samples, else by the
    full gradient's. The plain ones have a note where the curvature is negative in every direction beyond its error.
    """
    with hessian(objective) as operator:
        top = eigenpairs(operator, 1, seed=seed)
    value, residual = float(top.values[0]), float(top.residuals[0])
    note = DOWNHILL if value < -residual else ""
    plain = [
        replace(stable_rate(value, residual, rule, MOMENTUM.get(rule, 0.0)), note=note) for rule in _PLAIN_KIN
    ]
    sampled = batch_size if isinstance(objective, Objective) else None
    second, source = estimated(objective, objective.point, sampled)
    adaptive = [
        replace(largest_stable_rate(objective, rule, second_moment=second, seed=seed), preconditioner=source)
        for rule in _ADAPTIVE_KIN
    ]
    return plain + adaptive


def edge_curvature(training: Training) -> float | None:
    """The λmax at which the rate in use is the largest stable one; None for a rule without such a number."""
    rule, momentum = training.optimizer, _momentum(training) or 0.0
    if rule not in RULES or rule in ADAPTIVE:
        return None
    coupled, direct = decays(rule, training.weight_decay, momentum)
    return (2 / training.lr - direct) / edge_of(rule, momentum).curvature - coupled


def limits_of(training: Training | None) -> dict[str, dict[str, float]]:
    """What quantities that are followed along a run are held against: by quantity and by the limit's name."""
    if training is None:
        return {}
    used = f"{training.optimizer} at {training.lr:g}"
    limits = {"largest stable rate": {f"rate in use, {used}": training.lr}}
    edge = edge_curvature(training)
    if edge is not None:
        limits["largest eigenvalue"] = {f"edge of stability, {used}": edge}
    return limits


def _momentum(training: Training) -> float | None:
    """α or μ where the training's counts; None stands for the rule's own default."""
    return training.momentum if training.optimizer in ("momentum", "nesterov", "rmsprop") else None
