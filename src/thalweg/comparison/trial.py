"""One training: an optimizer at one rate from one seed, for a number of gradient evaluations."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from thalweg.comparison.contenders import Contender
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.objective.batches import Batch
from thalweg.objective.preserved import preserved_rng
from thalweg.problems import Problem
from thalweg.schedules import Schedule
from thalweg.surveys.minibatches import minibatches
from thalweg.surveys.optimizers import NotFinite, take_step, to_evaluation_point, to_iterate

MakeSchedule: TypeAlias = Callable[[float, int], Schedule]
"""From the largest rate and the number of steps to the schedule."""

DIVERGED = 100.0
"""A loss that ends so many times above where it began has diverged."""


@dataclass(frozen=True)
class Trial:
    """What one training came to.

    rows: of each evaluation its "evaluations" (gradients so far), "steps", and "train loss", "test loss", "train
    accuracy", "test accuracy" as far as the problem has them, at the iterate in evaluation mode; the first is from
    before the first step. A divergence ends with a row of NaN.
    step_seconds: median over the steps. state_bytes: of the optimizer's tensors for each trained parameter.
    peak_memory: bytes allocated at once on a CUDA device, None elsewhere.
    """

    rows: list[dict[str, float]] = field(repr=False)
    steps: int
    evaluations: int
    diverged: bool
    step_seconds: float
    state_bytes: float
    peak_memory: int | None


def train(
    problem: Problem,
    contender: Contender,
    rate: float,
    *,
    budget: int,
    batch_size: int,
    seed: int,
    schedule: MakeSchedule | None = None,
    points: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Trial:
    """Train a model of `problem` made from `seed`, evaluated at the start and `points` times until the end.

    No step is begun that would exceed `budget` gradient evaluations. Initial weights and minibatches depend on
    `seed` alone, whatever the optimizer. Ends at the first loss that is not finite. `advance` is told of the
    evaluations used so far. Global random states are as before.
    """
    model = problem.make_model(seed)
    objectives = {"train": problem.train_objective(model)}
    if problem.test is not None:
        objectives["test"] = problem.test_objective(model)
    fit = objectives["train"]
    optimizer = contender.make(model, rate, fit)
    scheduler = None
    if schedule is not None and not contender.averages:
        scheduler = schedule(rate, contender.steps(budget)).torch(optimizer)
    device = fit.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    rows = [_row(problem, objectives, 0, 0)]
    names = list(rows[0])
    marks = [round(budget * (k + 1) / points) for k in range(points)]
    times: list[float] = []
    used, diverged = 0, not math.isfinite(rows[0]["train loss"])
    model.train()
    with preserved_rng():
        torch.manual_seed(seed)
        batches = endless(problem.train, batch_size, seed)
        while not diverged and used + contender.cost(len(times)) <= budget:
            batch = tree_map(fit.batches.placed, next(batches))
            begun = time.perf_counter()
            try:
                _, taken = take_step(optimizer, lambda batch=batch: fit.module(batch), batch)
            except NotFinite:
                diverged = True
                break
            if scheduler is not None:
                scheduler.step()
            used += taken + contender.estimate(len(times))
            times.append(time.perf_counter() - begun)
            last = used + contender.cost(len(times)) > budget
            if used >= marks[0] or last:
                marks = [mark for mark in marks if mark > used] or [budget]
                to_iterate(optimizer, fit)
                rows.append(_row(problem, objectives, used, len(times)))
                to_evaluation_point(optimizer)
                diverged = not (_finite(model) and math.isfinite(rows[-1]["train loss"]))
            if advance is not None and (len(times) % 50 == 0 or last):
                advance(used)
    diverged = diverged or rows[-1]["train loss"] > DIVERGED * rows[0]["train loss"] > 0
    if diverged:
        at = {"evaluations": used + contender.cost(len(times)), "steps": len(times) + 1}
        if not math.isfinite(rows[-1]["train loss"]):
            at = {key: rows[-1][key] for key in at}
            rows.pop()
        rows.append(dict.fromkeys(names, math.nan) | at)
    return Trial(
        rows,
        len(times),
        used,
        diverged,
        statistics.median(times) if times else math.nan,
        _state_bytes(optimizer),
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def endless(data: Any, size: int, seed: int) -> Iterator[Batch]:
    """Minibatches of epoch after epoch, the same for everyone with the same seed.

    The data draw from a random stream of their own (shuffling of a loader, augmentation), so that batches do not
    depend on how often the model draws from torch's global one (dropout). Raises InvalidArgument where there are none.
    """
    for epoch in itertools.count(1):
        own = torch.Generator().manual_seed(seed * 1_000_003 + epoch).get_state()
        batches = minibatches(data, size, seed, epoch)
        for number in itertools.count():
            others = torch.get_rng_state()
            torch.set_rng_state(own)
            try:
                batch = next(batches, None)
            finally:
                own = torch.get_rng_state()
                torch.set_rng_state(others)
            if batch is None:
                if not number:
                    raise InvalidArgument("training data gave no batch: is it smaller than a loader's batch?")
                break
            yield batch


def _row(problem: Problem, objectives: dict[str, Objective], used: int, steps: int) -> dict[str, float]:
    row: dict[str, float] = {"evaluations": used, "steps": steps}
    for split, objective in objectives.items():
        values = objective.at().values(problem.metrics)
        row |= {f"{split} {name}": value for name, value in values.items()}
    return row


def _finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())


def _state_bytes(optimizer: torch.optim.Optimizer) -> float:
    """Bytes of state for each parameter that is trained; counters of steps are not counted."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    held = [
        leaf
        for state in optimizer.state.values()
        for leaf in tree_leaves({key: value for key, value in state.items() if key != "step"})
        if isinstance(leaf, Tensor)
    ]
    return sum(leaf.numel() * leaf.element_size() for leaf in held) / sum(p.numel() for p in parameters)
