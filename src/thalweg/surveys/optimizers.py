"""Optimizers for training: made by name, stepped with their gradients counted, set to the point to be evaluated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from thalweg import optim
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.objective.batches import Batch
from thalweg.objective.batchnorm import recalibrated
from thalweg.objective.preserved import batchnorms
from thalweg.problems import Training

# Plain in a `Training`, whatever the class could do with momentum.
_WITHOUT_MOMENTUM = ("sgd", "gradient_descent")
_WITH_MOMENTUM = ("momentum", "nesterov", "rmsprop")


def make_optimizer(
    training: Training, model: nn.Module, objective: Objective | None = None
) -> torch.optim.Optimizer:
    """The optimizer that `training` describes, over the trainable parameters of `model`.

    `objective` is for optimizers that measure curvature.
    Raises UnknownName for a name that is none, InvalidArgument for a setting that the optimizer does not take.
    """
    taken = hyperparameters(training.optimizer)
    chosen = {"lr": training.lr, "weight_decay": training.weight_decay}
    if training.optimizer in _WITH_MOMENTUM or (
        training.momentum and "momentum" in taken and training.optimizer not in _WITHOUT_MOMENTUM
    ):
        chosen["momentum"] = training.momentum
    if "weight_decay" not in taken and not training.weight_decay:
        del chosen["weight_decay"]
    return construct(training.optimizer, model, objective, **chosen)


def construct(
    name: str, model: nn.Module, objective: Objective | None = None, /, **chosen: Any
) -> torch.optim.Optimizer:
    """The optimizer called `name` over the trainable parameters of `model`, which it knows by name.

    One that measures curvature does so on `objective`.
    Raises UnknownName, with the nearest names, and InvalidArgument for a hyperparameter that it does not take, or
    an optimizer that needs more than parameters.
    """
    taken = hyperparameters(name)
    unknown = sorted(set(chosen) - set(taken))
    if unknown:
        raise InvalidArgument(f"optimizer {name!r} has no {', '.join(unknown)}; it takes {', '.join(taken)}")
    if "objective" in inspect.signature(optim.get(name)).parameters:
        chosen["objective"] = objective
    parameters = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
    return optim.get(name)(parameters, **chosen)


def hyperparameters(name: str) -> dict[str, Any]:
    """The hyperparameters of the optimizer called `name`, with their defaults.

    Raises UnknownName, with the nearest names, if there is none, and InvalidArgument for one that needs more than
    the parameters of a model.
    """
    found = optim.get(name)
    (_, first), *others = inspect.signature(found).parameters.items()
    given = {"objective", "model", "loss_fn", "batch_loss", "outputs"}
    named = [
        (key, p) for key, p in others if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and key not in given
    ]
    needed = [key for key, p in named if p.default is p.empty]
    if first.name not in ("params", "parameters", "named_parameters"):
        needed.insert(0, first.name)
    if needed:
        raise InvalidArgument(
            f"optimizer {name!r} needs {', '.join(needed)} besides parameters: train with it in a loop of your own"
        )
    return {key: p.default for key, p in named}


def default_rate(name: str) -> float:
    """The learning rate of the optimizer called `name` by default; raises what `hyperparameters` raises."""
    rate = hyperparameters(name).get("lr")
    if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise InvalidArgument(f"optimizer {name!r} has no learning rate to choose")
    return float(rate)


class NotFinite(Exception):
    """A training loss is no longer finite."""


def take_step(
    optimizer: torch.optim.Optimizer, compute: Callable[[], Tensor], batch: Batch
) -> tuple[float, int]:
    """One step down the loss that `compute` gives: its value before the step, and how many gradients of it were taken.

    `batch` is what it is the loss of, for optimizers that measure curvature on it.
    Raises NotFinite, with the parameters as they were, as soon as a loss is not finite.
    """
    losses: list[float] = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = compute()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise NotFinite
        loss.backward()
        return loss

    step: Any = optimizer.step
    if "batch" in inspect.signature(type(optimizer).step).parameters:
        step(closure, batch=batch)
    else:
        step(closure)
    return losses[0], len(losses)


def to_iterate(optimizer: torch.optim.Optimizer, objective: Objective | None = None) -> None:
    """Put the iterate θ into the parameters, to be evaluated or saved.

    For optimizers that take gradients elsewhere, as their method `eval` tells. Running batch-norm statistics were
    collected there: where the parameters moved, those of the objective's model are estimated anew over its data.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p._version for p in parameters]
    getattr(_base(optimizer), "eval", _nothing)()
    moved = [p._version for p in parameters] != before
    if objective is not None and moved and batchnorms(objective.model):
        _recalibrate(objective)


def to_evaluation_point(optimizer: torch.optim.Optimizer) -> None:
    """Put the point where the optimizer wants its next gradient into the parameters."""
    getattr(_base(optimizer), "train", _nothing)()


def _base(optimizer: Any) -> Any:
    """The optimizer inside one that wraps another."""
    return (
        _base(optimizer.base)
        if isinstance(getattr(optimizer, "base", None), torch.optim.Optimizer)
        else optimizer
    )


def _nothing() -> None:
    pass


def _recalibrate(objective: Objective) -> None:
    point = objective.point

    def statistics() -> dict[str, Tensor]:
        with objective.evaluating(derivatives=False):
            return recalibrated(
                objective.module,
                objective.batches,
                lambda batch, held: objective.at_batch(point, batch, held),
            )

    found = objective.within_memory(statistics, whole=True)
    buffers = dict(objective.module.named_buffers())
    with torch.no_grad():
        for name, value in found.items():
            # The count of batches is that of training, on which a cumulative average depends.
            if value.is_floating_point():
                buffers[name].copy_(value)
