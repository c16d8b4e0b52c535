"""What a survey, or measures of curvature, will evaluate, how long and how much memory that takes, beforehand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from thalweg.curvature.critical.classification import DENSE_UP_TO
from thalweg.landscape.slices import evaluated_whole
from thalweg.objective import AbstractObjective, Objective
from thalweg.surfaces import Surface
from thalweg.surveys.minibatches import batches_per_epoch
from thalweg.surveys.settings import Settings
from thalweg.surveys.subject import Subject

_SHARE = {1: 0.4, 2: 0.2}
"""By dimension: of a slice's points, those that are evaluated to know the others to a hundredth."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage: `count` evaluations of `unit` ("loss", "gradient", "product", "step") in about `seconds`."""

    name: str
    count: int
    unit: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The stages in order, their time in seconds and the most memory in bytes that they hold at once."""

    stages: tuple[PlannedStage, ...]
    seconds: float
    memory: int


def plan(subject: Subject, settings: Settings) -> Plan:
    """Time one loss, gradient and Hessian product at the subject's present point and count what a survey needs.

    Counts that depend on convergence (eigenpairs, trace, slices to a tolerance) are typical ones; times hold for this
    machine as it is loaded now, and do not include drawing the report.
    """
    objective = subject.objective
    costs = _Costs.of(objective, subject.metrics)
    loss, gradient, product = costs.loss, costs.gradient, costs.product
    size, k = objective.size, min(settings.k, objective.size)
    given = len(subject.checkpoints or ())
    travels = subject.training is not None or given > 2 or isinstance(objective, Surface)
    # One dimension has no plane, and two are one.
    planes = size - 1 if size <= 2 else 2 + travels
    line, plane = settings.line_resolution, settings.plane_resolution(objective)
    metrics = subject.metrics
    points = _points(objective, (line,), settings.rtol, metrics) + planes * _points(
        objective, (plane, plane), settings.rtol, ("loss",)
    )
    stages = [
        PlannedStage("losses and accuracies", 4, "loss", 4 * loss),
        _products("eigenpairs", min(size, 2 * (2 * k + 18)), product),
        _products("trace", min(size, 56), product),
        _products("spectral density", settings.probes * min(settings.steps, size), product),
        _products("kind of critical point", size if size <= DENSE_UP_TO else 0, product),
        PlannedStage("sharpness", 19, "loss", 19 * loss),
        PlannedStage("slices", points, "loss", points * loss),
    ]
    problem, training = subject.target.problem, subject.training
    if problem is not None and training is not None:
        steps = batches_per_epoch(problem.train, training.batch_size) * training.epochs
        # Small batches keep the processor less busy than the full one that was timed.
        seconds = training.epochs * (2 * gradient + 2 * loss)
        stages.insert(0, PlannedStage("training", steps, "step", seconds))
    elif isinstance(objective, Surface):
        stages.insert(0, PlannedStage("descent", 100, "gradient", 100 * gradient))
    path = given or (subject.training.epochs + 1 if subject.training else 1)
    memory = _memory(objective, max(2 * k + 20, settings.steps + 4) + path)
    return Plan(tuple(stages), sum(stage.seconds for stage in stages), memory)


def _points(
    objective: AbstractObjective, shape: tuple[int, ...], rtol: float, metrics: tuple[str, ...]
) -> int:
    """About how many points of a slice are evaluated."""
    points = math.prod(shape)
    every = not rtol or evaluated_whole(objective, shape, metrics)
    return points if every else round(_SHARE[len(shape)] * points)


def plan_of_measures(
    objective: AbstractObjective, names: Sequence[str], k: int = 10, probes: int = 8, checkpoints: int = 1
) -> Plan:
    """The same for the measures called `names` (see `surveys.curvature`) at each of so many `checkpoints`."""
    costs = _Costs.of(objective, ("loss",))
    size, k = objective.size, min(k, objective.size)
    counts: dict[str, tuple[int, Literal["gradient", "product"]]] = {
        "eigenpairs": (min(size, 2 * (2 * k + 18)), "product"),
        "kind": (_of_kind(size, k, names), "product"),
        "trace": (min(size, 56), "product"),
        "density": (max(2, probes) * min(size, 64), "product"),
        "sharpness": (100, "gradient"),
        # A gradient of each sample takes about as long as three of the whole.
        "noise": (3, "gradient"),
        "blocks": (20 * len(objective.blocks), "product"),
        "stability": (0 if "eigenpairs" in names else min(size, 40), "product"),
    }
    stages = tuple(
        PlannedStage(name, checkpoints * count, unit, checkpoints * count * getattr(costs, unit))
        for name, (count, unit) in counts.items()
        if name in names
    )
    return Plan(stages, sum(stage.seconds for stage in stages), _memory(objective, 2 * k + 20))


def _of_kind(size: int, k: int, names: Sequence[str]) -> int:
    if size <= DENSE_UP_TO:
        return size
    # Eigenpairs of both ends serve it, where they are measured anyway.
    return 0 if "eigenpairs" in names and k > 1 else 76


@dataclass(frozen=True)
class _Costs:
    """Seconds of one evaluation of each kind."""

    loss: float
    gradient: float
    product: float

    @classmethod
    def of(cls, objective: AbstractObjective, metrics: tuple[str, ...]) -> _Costs:
        """Timed at the objective's own point."""
        point = objective.point
        with objective.at(point) as here:
            vector = torch.ones_like(point) / objective.size**0.5
            gradient = _seconds(lambda: objective.gradient(point))
            product = _seconds(lambda: here.hvp(vector))
        with objective.evaluator(metrics) as evaluate:
            loss = _seconds(lambda: evaluate(point))
        return cls(loss, gradient, product)


def _products(name: str, count: int, seconds: float) -> PlannedStage:
    return PlannedStage(name, count, "product", count * seconds)


def _memory(objective: AbstractObjective, vectors: int) -> int:
    """Bytes of so many vectors of the objective's size, and of kept graphs within their budget."""
    held = vectors * objective.size * objective.dtype.itemsize
    if isinstance(objective, Objective):
        held += int(min(objective.memory_budget, objective.kept_bytes()))
    return held


def _seconds(call: Callable[[], object]) -> float:
    """The faster of two calls after one that warms up."""
    call()
    times: list[float] = []
    for _ in range(2):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)
