"""A model together with its loss, as one module from a batch to a mean loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.errors import InvalidArgument
from thalweg.objective.batches import Batch, batch_size

LossFunction: TypeAlias = Callable[[Tensor, Any], Tensor]
ModelBatchLoss: TypeAlias = Callable[[nn.Module, Batch], Tensor]
ModelOutputs: TypeAlias = Callable[[nn.Module, Batch], tuple[Tensor, Any]]


class BatchLoss(nn.Module):
    """The mean loss of `model` on a batch, and what else can be read off its output.

    `forward(batch, quantity)` gives `quantity(self, batch)`, the mean loss when None: whatever is computed in one
    call of the module can be computed at other parameters by `torch.func.functional_call`.

    Parameters
    ----------
    loss_fn: maps (output, target) to the mean loss, to a sum over samples when it has `reduction="sum"`, or to
        one loss per sample (any tensor: its mean is taken).
    batch_loss: maps (model, batch) to the mean loss, for batches of any shape.
    outputs: maps (model, batch) to (output, target).
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction | None,
        batch_loss: ModelBatchLoss | None,
        outputs: ModelOutputs | None,
    ) -> None:
        super().__init__()
        if loss_fn is not None and batch_loss is not None and outputs is None:
            raise InvalidArgument("give loss_fn or batch_loss, not both (unless outputs= says how they meet)")
        for name, value in (("loss_fn", loss_fn), ("batch_loss", batch_loss), ("outputs", outputs)):
            if value is not None and not callable(value):
                raise InvalidArgument(f"{name} must be callable, got {type(value).__name__}")
            if isinstance(value, type):
                raise InvalidArgument(
                    f"{name} must be a function or a module, got a class: {value.__name__}()"
                )
        self.model = model
        self.loss_fn = loss_fn
        self.batch_loss = batch_loss
        self.outputs = outputs
        self.summed = getattr(loss_fn, "reduction", "mean") == "sum"

    def forward(self, batch: Batch, quantity: Callable[[BatchLoss, Batch], Any] | None = None) -> Any:
        """`quantity` of this module and the batch, the mean loss when None."""
        return self.mean_loss(batch) if quantity is None else quantity(self, batch)

    def mean_loss(self, batch: Batch) -> Tensor:
        """Mean loss of the batch, shape ()."""
        if self.batch_loss is not None:
            loss = self.batch_loss(self.model, _own(batch))
        elif self.loss_fn is None:
            loss = self._own_loss(batch)
        else:
            output, target = self.output_target(batch)
            return self.output_loss(output, target)
        return _scalar(loss, "batch_loss" if self.batch_loss else "model(**batch).loss")

    def output_target(self, batch: Batch) -> tuple[Tensor, Any]:
        """The model's output on the batch, and the target it is compared with."""
        if self.outputs is not None:
            return self.outputs(self.model, _own(batch))
        if self.batch_loss is not None or self.loss_fn is None:
            raise InvalidArgument(
                "this needs the model's output: with batch_loss pass outputs=g as well, "
                "where g(model, batch) returns (output, target)"
            )
        if not isinstance(batch, (tuple, list)) or len(cast("tuple[Any]", batch)) < 2:
            raise InvalidArgument(
                f"loss_fn needs batches (inputs, target), got a {type(batch).__name__}: use batch_loss=f "
                "with f(model, batch) for batches of another shape"
            )
        *inputs, target = cast("tuple[Any, ...]", _own(batch))
        keywords = len(inputs) == 1 and isinstance(inputs[0], dict)
        output = self.model(**inputs[0]) if keywords else self.model(*inputs)
        return _tensor(output), target

    def output_loss_fn(self, target: Any) -> LossFunction:
        """The loss of an output: `loss_fn`, or what fits the target where only `outputs` is given."""
        if self.loss_fn is not None:
            return self.loss_fn
        # A guess, which the objective checks on data.
        integer = isinstance(target, Tensor) and not target.is_floating_point()
        return token_cross_entropy if integer else F.mse_loss

    def output_loss(self, output: Tensor, target: Any) -> Tensor:
        """The mean loss of an output, shape (): the part of the loss that Gauss-Newton takes as convex."""
        loss = _scalar(self.output_loss_fn(target)(output, target), "loss_fn")
        return loss / output.shape[0] if self.summed else loss

    def sample_losses(self, output: Tensor, target: Any) -> Tensor:
        """The loss of each sample, shape (samples,)."""
        loss_fn = self.output_loss_fn(target)
        if isinstance(loss_fn, nn.Module) and hasattr(loss_fn, "reduction"):
            each = copy.copy(loss_fn)
            setattr(each, "reduction", "none")  # noqa: B010 - not every module has it
            losses = each(output, target)
            losses = losses.reshape(losses.shape[0], -1)
            return losses.sum(1) if self.summed else losses.mean(1)

        def one(row: Tensor, label: Any) -> Tensor:
            loss = loss_fn(row[None], label[None])
            return loss if loss.dim() == 0 else loss.mean()

        return torch.func.vmap(one)(output, target)

    def _own_loss(self, batch: Batch) -> Tensor:
        if not isinstance(batch, dict):
            raise InvalidArgument(
                "without loss_fn and batch_loss, batches must be dicts that model(**batch) takes"
            )
        output = self.model(**batch)
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
        if loss is None:
            raise InvalidArgument(
                "model(**batch) returned no loss: pass labels in the batch, or loss_fn/batch_loss"
            )
        return loss


def _own(batch: Batch) -> Batch:
    """The batch in lists and dicts of its own, for a user's function may take elements out."""
    return tree_map(lambda leaf: leaf, batch)


def token_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy with the classes on the last axis."""
    return F.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def _scalar(loss: Any, source: str) -> Tensor:
    if not isinstance(loss, Tensor):
        raise InvalidArgument(f"{source} must return a tensor, got {type(loss).__name__}")
    return loss if loss.dim() == 0 else loss.mean()


def _tensor(output: Any) -> Tensor:
    """The output as one tensor; of a structured output its `logits`."""
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    raise InvalidArgument(
        f"model returned {type(output).__name__}, not a tensor or an object with .logits: "
        "use batch_loss=f with f(model, batch), and outputs=g"
    )


def loss_count(loss_fn: LossFunction | None) -> Callable[[Batch], float] | None:
    """For torch's weighted or skipping losses, how many terms a batch's mean averages; else None.

    The target is the last element of a batch, or its "labels"; with neither, samples are counted.
    """
    if loss_fn in (F.cross_entropy, F.nll_loss, None):
        # A model's own loss, when there is none, skips labels of -100 as these do.
        weight, ignored = None, -100
    elif isinstance(loss_fn, (nn.CrossEntropyLoss, nn.NLLLoss)) and loss_fn.reduction == "mean":
        weight, ignored = loss_fn.weight, loss_fn.ignore_index
    else:
        return None

    def count(batch: Batch) -> float:
        target = batch.get("labels") if isinstance(batch, dict) else batch[-1]
        if not isinstance(target, Tensor) and weight is not None:
            raise InvalidArgument(
                'count: class weights are summed over the last element of a batch or its "labels", which this '
                f"{type(batch).__name__} has not: pass count=f with f(batch)"
            )
        if not isinstance(target, Tensor) or target.is_floating_point():
            return float(batch_size(batch))
        kept = target != ignored
        if weight is None:
            return float(kept.count_nonzero())
        return float(weight[target[kept].to(weight.device)].sum())

    return count
