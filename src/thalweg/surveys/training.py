"""Training a problem epoch by epoch into a run folder, from which it goes on after an interruption."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.objective import Objective
from thalweg.objective.preserved import preserved_rng
from thalweg.problems import Problem, Training
from thalweg.schedules import Schedule
from thalweg.store import Run
from thalweg.surveys.minibatches import batches_per_epoch, minibatches
from thalweg.surveys.optimizer_state import load_state, state_tensors
from thalweg.surveys.optimizers import (
    NotFinite,
    make_optimizer,
    take_step,
    to_evaluation_point,
    to_iterate,
)

Advance = Callable[[int, int], None]
_OPTIMIZER = "optimizer."


def train(
    problem: Problem,
    model: nn.Module,
    run: Run,
    training: Training | None = None,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Train `model` in place and return what was done; a run that already holds epochs continues after them.

    A `schedule` gives the rate of each step, counted from 0 over all epochs, in place of the training's own; rows then
    have the rate that their epoch began with.

    Each epoch leaves in `run` a row of the series "training" (losses and accuracies in evaluation mode, at the
    epoch's end), the weights as tensors "epoch-0001" and the optimizer's state. Of optimizers that take gradients
    at another point than the iterate these are the iterate's. A loss that is no longer finite ends the training;
    the model is then left at the last epoch before. A finite loss that ends a hundred times above where it began
    counts as diverged too.

    The result equals that of an unbroken run: batches and dropout depend on `seed` and the epoch alone.
    Raises UnknownName for an optimizer that is none, InvalidArgument for a setting that it does not take.
    """
    training = training or problem.training
    train_objective = problem.train_objective(model)
    optimizer = make_optimizer(training, model, train_objective)
    test_objective = None if problem.test is None else problem.test_objective(model)
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    per_epoch = 0 if schedule is None else batches_per_epoch(problem.train, training.batch_size)

    def rate(step: int) -> float:
        return training.lr if schedule is None else schedule(step)

    begun = restore(run, model, optimizer)
    if begun is None:
        begun = 0
        to_iterate(optimizer)
        run.put_row("training", 0, _row(problem, train_objective, test_objective, rate(0)))
        _save(run, 0, model, optimizer)
    diverged = _diverged(run)
    model.train()
    try:
        for epoch in range(begun + 1, training.epochs + 1):
            if diverged:
                break
            row = {"loss": math.nan}
            to_evaluation_point(optimizer)
            first = (epoch - 1) * per_epoch
            rates = None if schedule is None else map(rate, itertools.count(first))
            if _epoch(problem, train_objective, optimizer, training, seed, epoch, rates):
                to_iterate(optimizer, train_objective)
                row = _row(problem, train_objective, test_objective, rate(first))
            run.put_row("training", epoch, row)
            diverged = not math.isfinite(row["loss"])
            if diverged:
                restore(run, model, optimizer)
                break
            _save(run, epoch, model, optimizer)
            if advance is not None:
                advance(epoch, training.epochs)
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, before in gradients:
            parameter.grad = before
    finished = len(epochs(run)) - 1
    losses = [row["loss"] for row in run.series("training")]
    diverged = diverged or losses[-1] > 100 * losses[0]
    steps = batches_per_epoch(problem.train, training.batch_size) * finished
    how = {"source": "trained here", "steps": steps, "diverged": diverged} | asdict(training)
    return how if schedule is None else how | {"schedule": repr(schedule)}


def epochs(run: Run) -> list[str]:
    """The names under which the weights after each epoch are kept, those of the initial ones first."""
    return sorted(name for name in run.tensor_names() if name.startswith("epoch-"))


def weights(run: Run, name: str) -> dict[str, Tensor]:
    """The state dictionary kept as `name`."""
    return {key: torch.from_numpy(array) for key, array in (run.tensors(name) or {}).items()}


def restore(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int | None:
    """Put model and optimizer where the last finished epoch of `run` left them; its number, None if there is none."""
    if "latest" not in run.tensor_names():
        return None
    latest = weights(run, "latest")
    epoch = int(latest.pop("epoch"))
    model.load_state_dict(weights(run, f"epoch-{epoch:04d}"), strict=False)
    if optimizer is not None:
        load_state(optimizer, {name.removeprefix(_OPTIMIZER): tensor for name, tensor in latest.items()})
    return epoch


def _epoch(
    problem: Problem,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    training: Training,
    seed: int,
    epoch: int,
    rates: Iterator[float] | None,
) -> bool:
    """One pass over the training data, at the `rates` if there are any; False as soon as the loss is not finite."""
    module = objective.module
    with preserved_rng():
        torch.manual_seed(seed * 1_000_003 + epoch)
        for batch in minibatches(problem.train, training.batch_size, seed, epoch):
            placed = tree_map(objective.batches.placed, batch)
            if rates is not None:
                lr = next(rates)
                for group in optimizer.param_groups:
                    group["lr"] = lr
            try:
                take_step(optimizer, lambda placed=placed: module(placed), placed)
            except NotFinite:
                return False
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def _row(problem: Problem, train: Objective, test: Objective | None, lr: float) -> dict[str, float]:
    row = {"lr": lr} | train.at().values(problem.metrics)
    if test is not None:
        row |= {f"test_{name}": value for name, value in test.at().values(problem.metrics).items()}
    return row


def _diverged(run: Run) -> bool:
    rows = run.series("training")
    return bool(rows) and not math.isfinite(rows[-1]["loss"])


def _save(run: Run, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    # The latest state is written last: with it the epoch counts as done.
    run.put_tensors(f"epoch-{epoch:04d}", _unshared(model))
    state = {_OPTIMIZER + name: tensor for name, tensor in state_tensors(optimizer).items()}
    run.put_tensors("latest", {"epoch": torch.tensor(epoch)} | state)


def _unshared(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary with each shared tensor once, under its first name."""
    seen: set[int] = set()
    kept: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept
