"""What a survey will evaluate, how long that takes and how much memory, before it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from thalweg.curvature.critical.classification import DENSE_UP_TO
from thalweg.objective import Objective
from thalweg.surfaces import Surface
from thalweg.surveys.minibatches import batches_per_epoch
from thalweg.surveys.settings import Settings
from thalweg.surveys.subject import Subject


@dataclass(frozen=True)
class PlannedStage:
    """One stage: `count` evaluations of `unit` ("loss", "gradient", "product", "step") in about `seconds`."""

    name: str
    count: int
    unit: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The stages of a survey in order, their time in seconds and the most memory in bytes that they hold at once."""

    stages: tuple[PlannedStage, ...]
    seconds: float
    memory: int


def plan(subject: Subject, settings: Settings) -> Plan:
    """Time one loss, gradient and Hessian product at the subject's present point and count what a survey needs.

    Counts that depend on convergence (eigenpairs, trace) are typical ones; times hold for this machine as it is
    loaded now, and do not include drawing the report.
    """
    objective = subject.objective
    point = objective.point
    with objective.at(point) as here:
        vector = torch.ones_like(point) / objective.size**0.5
        gradient = _seconds(lambda: objective.gradient(point))
        product = _seconds(lambda: here.hvp(vector))
    with objective.evaluator(subject.metrics) as evaluate:
        loss = _seconds(lambda: evaluate(point))
    size, k = objective.size, min(settings.k, objective.size)
    travels = subject.training is not None or len(subject.given) > 2 or isinstance(objective, Surface)
    slices = 1 if size <= 2 else 2 + travels
    points = settings.line_resolution + slices * settings.plane_resolution(objective) ** 2
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
    return Plan(tuple(stages), sum(stage.seconds for stage in stages), _memory(subject, settings, k))


def _products(name: str, count: int, seconds: float) -> PlannedStage:
    return PlannedStage(name, count, "product", count * seconds)


def _memory(subject: Subject, settings: Settings, k: int) -> int:
    """Vectors of the largest Krylov basis, kept graphs within their budget, and the path."""
    objective = subject.objective
    vector = objective.size * objective.dtype.itemsize
    path = len(subject.given) or (subject.training.epochs + 1 if subject.training else 1)
    held = (max(2 * k + 20, settings.steps + 4) + path) * vector
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
