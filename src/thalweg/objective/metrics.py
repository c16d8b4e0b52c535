"""Losses and accuracies over a data set, each with its standard error over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
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


def measure(here: ModelHere, metrics: Sequence[str]) -> dict[str, Measurement]:
    """The named metrics at `here`: "loss", "accuracy" (share of right arg-max classes), "gradient_norm".

    The loss's standard error is that of a mean over independent samples: the spread of the samples' losses
    over √N. Raises InvalidArgument for another name, or for an accuracy without classes.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InvalidArgument(f"metrics: {unknown[0]!r} is none of {', '.join(METRICS)}")
    samples = here.objective.samples
    found: dict[str, Measurement] = {}
    if "loss" in metrics:
        found["loss"] = _loss(here)
    if "accuracy" in metrics:
        share = float(_accuracy(here))
        found["accuracy"] = Measurement(share, math.sqrt(share * (1 - share) / samples), samples)
    if "gradient_norm" in metrics:
        found["gradient_norm"] = Measurement(float(here.gradient().norm()), math.nan, samples)
    return found


def _loss(here: ModelHere) -> Measurement:
    value = float(here.loss())
    samples = here.objective.samples
    spread = _sample_spread(here) if here.objective.module.batch_loss is None else None
    if spread is None:
        return Measurement(value, math.nan, samples)
    return Measurement(value, math.sqrt(spread / max(samples - 1, 1)), samples)


def _sample_spread(here: ModelHere) -> float | None:
    """Variance of the samples' losses over the data, or None where the loss does not split into samples."""
    module = here.objective.module
    if module.loss_fn is None:
        return None

    def moments(_: int, batch: Batch) -> Tensor:
        output, target = here.batch_output(batch)
        losses = module.sample_losses(output, target).double()
        if losses.numel() != batch_size(batch):
            raise _DoesNotSplit
        return torch.stack([losses.mean(), losses.square().mean()])

    try:
        mean, square = here.objective.sum_over_batches(moments, derivatives=False).tolist()
    except (_DoesNotSplit, RuntimeError, ValueError, IndexError, TypeError):
        return None
    return max(square - mean**2, 0.0)


class _DoesNotSplit(Exception):
    """The loss of a batch is not a mean over its samples."""


def _accuracy(here: ModelHere) -> Tensor:
    def share(_: int, batch: Batch) -> Tensor:
        output, target = here.batch_output(batch)
        return right(output, target).double().mean()

    return here.objective.sum_over_batches(share, derivatives=False)


def right(output: Tensor, target: Any) -> Tensor:
    """Whether each prediction is the target's class; the class axis is the output's last one, or its axis 1.

    A single output column is a logit of class 1.
    """
    if not isinstance(target, Tensor) or (target.is_floating_point() and output.shape != target.shape):
        raise InvalidArgument("accuracy needs class targets; for a regression ask for the loss alone")
    if output.shape == target.shape:
        return (output > 0) == (target > 0.5)
    if output.shape[:-1] == target.shape:
        return output.argmax(-1) == target
    if output.dim() > 2 and output.shape[:1] + output.shape[2:] == target.shape:
        return output.argmax(1) == target
    raise InvalidArgument(
        f"accuracy: output {tuple(output.shape)} does not hold one score per class for target {tuple(target.shape)}"
    )
