"""The gradient of every sample apart."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.batches import Batch, batch_size, split
from thalweg.objective.batchnorm import recalibrated
from thalweg.objective.linearization import gradient
from thalweg.objective.weighted_sum import is_out_of_memory

_SHARE = 1 / 16
"""Of the memory budget, for the gradients held at once: the backward pass needs several times as much."""
_CACHED = 2**24
"""Bytes of gradients held at once on a processor, whose cache they leave else: half as fast where they do."""


class SampleGradients:
    """The gradients γ of single samples at θ: their mean over the data is the gradient of the objective.

    For samples that count differently in the loss (class weights, ignored labels) γᵢ = cᵢ∇ℓᵢ/c̄, with c̄ the mean
    count; else γᵢ = ∇ℓᵢ. Make one by `sample_gradients`.
    """

    def __init__(self, obj: Objective, theta: Tensor, statistics: dict[str, Tensor]) -> None:
        self.obj, self.theta = obj, theta
        self.mean_count = obj.batches.total / obj.samples
        self._statistics = statistics
        self._vectorized, self._compared = True, False

    def chunks(self, batch: Batch) -> Iterator[Tensor]:
        """The gradients of the samples of `batch`, in order, in pieces of shape (b, n).

        A piece takes at most a sixteenth of the objective's memory budget, but for a single gradient.
        """
        held = self.obj.memory_budget * _SHARE
        if self.theta.device.type == "cpu":
            held = min(held, _CACHED)
        room = max(1, int(held / self.theta.nbytes))
        for piece in split(batch, min(room, self.obj.batches.largest)):
            yield self._gradients(piece)

    def mean(self, pieces: Iterable[Batch], samples: int) -> Tensor:
        """The mean of γ over all samples of `pieces`, which are `samples`: a batch's gradient (n,)."""
        total = torch.zeros_like(self.theta)
        for piece in (part for whole in pieces for part in split(whole, self.obj.batches.microbatch)):
            if count := self.obj.batches.count(piece):
                total.add_(gradient(self._loss(piece), self.theta), alpha=count / self.mean_count / samples)
        return total

    def _loss(self, batch: Batch) -> Any:
        return lambda theta: self.obj.at_batch(theta, batch, self._statistics)

    def _gradients(self, piece: Batch) -> Tensor:
        singles = list(split(piece, 1))
        counts = self.theta.new_tensor([self.obj.batches.count(single) for single in singles])
        slopes, losses = self._at_once(piece) if self._vectorized else self._one_by_one(singles)
        if not bool(counts.all()):
            # A sample that does not count has 0/0 for its mean loss.
            slopes[counts == 0], losses = 0, torch.where(counts == 0, 0, losses)
        if not self._compared and len(singles) > 1 and float(counts.sum()):
            self._compare(piece, float((losses * counts).sum() / counts.sum()))
        uniform = bool((counts == self.mean_count).all())
        return slopes if uniform else slopes.mul_((counts / self.mean_count)[:, None])

    def _at_once(self, piece: Batch) -> tuple[Tensor, Tensor]:
        leaves, structure = tree_flatten(piece)
        samples = batch_size(piece)
        places = [
            i
            for i, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == samples
        ]

        def loss(theta: Tensor, *rows: Tensor) -> Tensor:
            filled = list(leaves)
            for place, row in zip(places, rows, strict=True):
                filled[place] = row[None]
            return self.obj.at_batch(theta, tree_unflatten(filled, structure), self._statistics)

        each: Any = torch.func.vmap(
            torch.func.grad_and_value(loss), in_dims=(None, *[0 for _ in places]), randomness="error"
        )
        try:
            return each(self.theta, *[leaves[place] for place in places])
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._vectorized = False
            reason = (str(error).strip().splitlines() or ["?"])[0]
            note = f"gradients of samples are taken one by one, for they cannot be vectorized ({reason})"
            if note not in self.obj.notes:
                self.obj.notes.append(note)
            return self._one_by_one(list(split(piece, 1)))

    def _one_by_one(self, singles: list[Batch]) -> tuple[Tensor, Tensor]:
        found = [self._single(single) for single in singles]
        return torch.stack([slope for slope, _ in found]), torch.stack([loss for _, loss in found])

    def _single(self, single: Batch) -> tuple[Tensor, Tensor]:
        leaf = self.theta.detach().requires_grad_()
        loss = self._loss(single)(leaf)
        if not loss.requires_grad:
            return torch.zeros_like(leaf), loss
        (slope,) = torch.autograd.grad(loss, leaf, materialize_grads=True)
        return slope, loss.detach()

    def _compare(self, piece: Batch, parts: float) -> None:
        """Raise where the loss of a batch is not the mean over its samples, so that samples have no gradients."""
        self._compared = True
        with torch.no_grad():
            whole = float(self._loss(piece)(self.theta))
        if not math.isfinite(whole):
            raise NotDifferentiable(f"obj: the loss of a batch is {whole:.6g}, so that it has no gradients")
        if not abs(whole - parts) <= 1e-3 * max(abs(whole), abs(parts)) + 1e-6:
            raise InvalidArgument(
                f"obj: the loss of a batch is {whole:.6g}, the mean over its samples {parts:.6g}: it compares samples, "
                "or averages over something else; for the latter give Objective count=f with the terms in a batch"
            )


@contextmanager
def sample_gradients(obj: AbstractObjective, theta: Tensor | None) -> Generator[SampleGradients]:
    """The gradients of single samples at θ (n,), for the time of the context; the model is in evaluation mode.

    Raises
    ------
    InvalidArgument: an objective without samples, or batch-norm statistics that tie the samples of a batch together.
    """
    if not isinstance(obj, Objective):
        raise InvalidArgument(
            f"obj must be a model's objective with data, got {obj.name}: a surface has no samples, so no gradient noise"
        )
    if obj.batchnorm == "batch":
        raise InvalidArgument(
            'obj: batchnorm="batch" ties the samples of a batch together, so they have no gradients of their own: '
            'use "eval" or "recalibrate"'
        )
    point = obj.checked_point(theta).clone()
    # Also finds out whether the objective is deterministic.
    obj.loss(point)
    statistics: dict[str, Tensor] = {}
    if obj.batchnorm == "recalibrate":

        def estimated() -> dict[str, Tensor]:
            with obj.evaluating(derivatives=False):
                return recalibrated(
                    obj.module, obj.batches, lambda batch, buffers: obj.at_batch(point, batch, buffers)
                )

        statistics = obj.within_memory(estimated, whole=True)
    with obj.evaluating(derivatives=True):
        yield SampleGradients(obj, point, statistics)
