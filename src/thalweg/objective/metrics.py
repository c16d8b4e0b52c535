"""Losses and accuracies over a data set, each with its standard error over samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.batches import Batch, batch_size

if TYPE_CHECKING:
    from thalweg.objective.here import ModelHere


@dataclass(frozen=True)
class Measurement:
    """An estimate with its standard error (NaN where there is none) and the samples it rests on."""

    value: float
    stderr: float
    samples: int


METRICS = ("loss", "accuracy", "gradient_norm")


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise InvalidArgument for a name that is no metric."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise InvalidArgument(
            f"metrics: {unknown[0] if unknown else metrics!r} is none of {', '.join(METRICS)}"
        )


def values(here: ModelHere, metrics: Sequence[str]) -> dict[str, float]:
    """The named metrics at `here`: "loss", "accuracy" (share of right arg-max classes), "gradient_norm".

    Loss and accuracy come from one forward pass. Raises InvalidArgument for another name, or for an accuracy
    without classes.
    """
    check_metrics(metrics)
    forward = [name for name in metrics if name != "gradient_norm"]
    found: dict[str, float] = {}
    if forward:
        sums = here.sum(forward_metrics(forward, here.objective.batches.count))
        found = named_metrics(forward, sums.tolist())
    if "gradient_norm" in metrics:
        found["gradient_norm"] = float(here.gradient().norm())
    return {name: found[name] for name in metrics}


def forward_metrics(
    names: Sequence[str], count: Callable[[Batch], float]
) -> Callable[[BatchLoss, Batch], Tensor]:
    """The quantity of a batch whose weighted sum `named_metrics` takes: a float64 vector.

    It holds the loss, and for the accuracy the right and all predictions, each over the batch's `count`.
    """

    def quantity(module: BatchLoss, batch: Batch) -> Tensor:
        if "accuracy" not in names:
            return module.mean_loss(batch).double()[None]
        output, target = module.output_target(batch)
        hits = right(output, target, probabilities=_gives_probabilities(module))
        kept = target != getattr(module.loss_fn, "ignore_index", -100)
        found = [(hits & kept).sum().double() / count(batch), kept.sum().double() / count(batch)]
        if "loss" in names:
            own = module.loss_fn is None or module.batch_loss is not None
            found.insert(0, module.mean_loss(batch) if own else module.output_loss(output, target))
        return torch.stack([value.double() for value in found])

    return quantity


def named_metrics(names: Sequence[str], sums: Sequence[float]) -> dict[str, float]:
    """Each of "loss" and "accuracy" that `names` asks for, from the weighted sum of `forward_metrics`."""
    share = sums[-2] / sums[-1] if "accuracy" in names and sums[-1] else math.nan
    found = {"loss": sums[0], "accuracy": share}
    return {name: found[name] for name in names}


def measure(here: ModelHere, metrics: Sequence[str]) -> dict[str, Measurement]:
    """The metrics of `values`, each with its standard error as a mean over independent samples.

    For the loss it is the spread of the samples' losses over √N, NaN where the loss does not split into samples;
    the accuracy's is that of a share (Agresti & Coull 1998); for the gradient norm it is not estimated.
    """
    samples = here.objective.samples
    errors: dict[str, float] = dict.fromkeys(METRICS, math.nan)
    found = values(here, metrics)
    if "accuracy" in found:
        # Of samples whose target is skipped there is no prediction to count.
        kept = here.sum(forward_metrics(["accuracy"], here.objective.batches.count))[-1]
        predictions = round(float(kept) * here.objective.batches.total)
        errors["accuracy"] = _share_error(found["accuracy"], min(samples, predictions))
    if "loss" in found and samples > 1 and (losses := sample_losses(here)) is not None:
        errors["loss"] = float(losses.std()) / math.sqrt(samples)
    return {name: Measurement(value, errors[name], samples) for name, value in found.items()}


def _share_error(share: float, samples: int) -> float:
    """Standard error of a share, with half a success and half a failure added so that 100 % is not certain.

    Source: Agresti & Coull (1998), at one standard error.
    """
    adjusted = (share * samples + 0.5) / (samples + 1)
    return math.sqrt(adjusted * (1 - adjusted) / (samples + 1))


def sample_losses(here: ModelHere) -> Tensor | None:
    """The loss of each sample (N,), float64 on the CPU; None where the loss does not split into samples."""
    objective = here.objective
    if objective.module.loss_fn is None:
        return None
    found: list[Tensor] = []

    def collect(module: BatchLoss, batch: Batch) -> Tensor:
        output, target = module.output_target(batch)
        if not isinstance(target, Tensor):
            raise _DoesNotSplit
        losses = module.sample_losses(output, target).double()
        # Where a loss weighs or skips terms its mean is not that of the samples' losses.
        if losses.numel() != batch_size(batch) or objective.batches.count(batch) not in (
            len(losses),
            target.numel(),
        ):
            raise _DoesNotSplit
        found.append(losses.detach().flatten().cpu())
        return losses.mean()

    try:
        mean = float(here.sum(collect))
    except (_DoesNotSplit, RuntimeError, ValueError, IndexError, TypeError):
        return None
    # A loss that compares samples with each other is not the mean of what it gives for each alone.
    if not math.isclose(mean, float(here.loss()), rel_tol=1e-3):
        return None
    # A pass that ran out of memory was begun again: the last one counts.
    return torch.cat(found)[-objective.samples :]


class _DoesNotSplit(Exception):
    """The loss of a batch is not a mean over its samples."""


def _gives_probabilities(module: BatchLoss) -> bool:
    """Whether the loss takes the probability of class 1 rather than its logit."""
    loss_fn = module.loss_fn
    return isinstance(loss_fn, nn.BCELoss) or loss_fn is F.binary_cross_entropy


def right(output: Tensor, target: Any, *, probabilities: bool = False) -> Tensor:
    """Whether each prediction is the target's class; the class axis is the output's last one, or its axis 1.

    A single output column is a logit of class 1, or with `probabilities` its probability, and targets are then
    zeros and ones of any type.
    """
    if not isinstance(target, Tensor):
        raise InvalidArgument(f"accuracy needs class targets, got a {type(target).__name__}")
    if output.shape == (*target.shape, 1):
        output = output[..., 0]
    alike = output.shape == target.shape
    if (alike or target.is_floating_point()) and not (alike and bool(_binary(target).all())):
        raise InvalidArgument("accuracy needs class targets; for a regression ask for the loss alone")
    if alike:
        return (output > (0.5 if probabilities else 0)) == (target > 0.5)
    if output.shape[:-1] == target.shape:
        return output.argmax(-1) == target
    if output.dim() > 2 and output.shape[:1] + output.shape[2:] == target.shape:
        return output.argmax(1) == target
    raise InvalidArgument(
        f"accuracy: output {tuple(output.shape)} does not hold one score per class for target {tuple(target.shape)}"
    )


def _binary(target: Tensor) -> Tensor:
    return (target == 0) | (target == 1)
