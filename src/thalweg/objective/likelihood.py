"""The likelihood whose negative logarithm a loss is, and the weight of each datum, read off the loss itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective.batch_loss import BatchLoss, token_cross_entropy
from thalweg.objective.linearization import KeptHessian, Loss, gradient

Link: TypeAlias = Literal["softmax", "log-softmax", "sigmoid", "identity"]
"""What the model's output means: logits of classes, their log-probabilities, logits of bits, or means of Gaussians."""

SATURATED = 2.0**20
"""An output at which a softmax or a sigmoid is exactly 0 or 1 in every floating-point type."""

CHUNK = 2**22
"""Entries of the output that are worked on at once: 16 MiB of float32 beside the output itself."""


@dataclass(frozen=True)
class Likelihood:
    """The loss of a batch as Σ cᵢ·(−log p(yᵢ|zᵢ)), zᵢ one row of its output.

    A row is a datum: all class scores of one sample, token or pixel, or the entries along the last axis for the
    other two links. `weights` are the cᵢ: (rows, 1) for classes, (rows, entries) else, where they are those of the
    single entries; for "identity" the entry's second derivative, its Gaussian's variance left open.
    """

    link: Link
    axis: int
    weights: Tensor

    @property
    def kept(self) -> Tensor:
        """Which rows count, (rows,): those of ignored targets have no weight."""
        return (self.weights > 0).any(1)

    def rows(self, tensor: Tensor) -> Tensor:
        """A tensor shaped like the output as (rows, entries); a view where the memory allows it."""
        return _rows(tensor, self.axis)

    def shaped(self, rows: Tensor, like: Tensor) -> Tensor:
        """The inverse of `rows`."""
        if self.axis >= like.dim():
            return rows.reshape(like.shape)
        return rows.reshape(like.movedim(self.axis, -1).shape).movedim(-1, self.axis)

    def curve(self, z: Tensor, v: Tensor, weights: Tensor) -> Tensor:
        """c·E[uuᵀ]v for some rows of each, u the slope of −log p in z at labels drawn from p."""
        if self.link == "softmax":
            p = z.softmax(1)
            # A constant added to v changes nothing, and less the entry of the likeliest class nothing cancels where p
            # is all but one there.
            image = (v - v.gather(1, p.argmax(1, keepdim=True))).mul_(p)
            return image.addcmul_(p, image.sum(1, keepdim=True), value=-1).mul_(weights)
        if self.link == "log-softmax":
            return z.exp().mul_(v).mul_(weights)
        if self.link == "sigmoid":
            return z.sigmoid().mul_((-z).sigmoid_()).mul_(v).mul_(weights)
        return weights * v


def likelihood(module: BatchLoss, output: Tensor, target: Any) -> Likelihood | None:
    """The likelihood of a batch's loss as a function of `output`, None when it is none of the known ones.

    torch's own cross-entropy, negative log-likelihood, squared error and binary cross-entropy with logits are
    known by name, what the user wrote around them by the loss's slope at other outputs.
    """

    def loss(z: Tensor) -> Tensor:
        return module.output_loss(z, target)

    known = known_link(module.output_loss_fn(target), output.dim())
    if known is None:
        return _recognised(loss, output)
    link, axis = known
    if link == "log-softmax" and not _are_log_probabilities(output, axis):
        raise InvalidArgument(
            "loss: nll_loss takes log-probabilities, and the model's output is none: end the model in "
            "LogSoftmax, or use cross_entropy"
        )
    return Likelihood(link, axis, _weights(loss, output, link, axis))


def known_link(loss_fn: Callable[..., Tensor], dims: int) -> tuple[Link, int] | None:
    """Link and class axis of a loss of torch's, for an output of so many axes; None for another loss."""
    while isinstance(loss_fn, functools.partial):
        loss_fn = loss_fn.func
    if isinstance(loss_fn, nn.Module):
        # The method and not the class: a user's own forward may compute anything.
        loss_fn = type(loss_fn).forward
    classes = min(1, dims - 1)
    if loss_fn is token_cross_entropy:
        return "softmax", dims - 1
    if loss_fn in (F.cross_entropy, nn.CrossEntropyLoss.forward):
        return "softmax", classes
    if loss_fn in (F.nll_loss, nn.NLLLoss.forward):
        return "log-softmax", classes
    if loss_fn in (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss.forward):
        return "sigmoid", max(1, dims - 1)
    if loss_fn in (F.mse_loss, nn.MSELoss.forward):
        return "identity", max(1, dims - 1)
    return None


def chunks(rows: Tensor) -> Iterator[slice]:
    """Slices of the rows (rows, entries) of at most `CHUNK` entries each."""
    step = max(1, CHUNK // max(1, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        yield slice(start, start + step)


def _rows(tensor: Tensor, axis: int) -> Tensor:
    if axis >= tensor.dim():
        # An output (n,) of one number per sample.
        return tensor.reshape(-1, 1)
    return tensor.movedim(axis, -1).reshape(-1, tensor.shape[axis])


def _weights(loss: Loss, output: Tensor, link: Link, axis: int) -> Tensor:
    """The weight of each row or entry: with slopes c·s(z) − q, s the link, c is their change while s goes from 0 to 1.

    So reductions, class weights, smoothing, ignored and masked targets count as they do in the loss.
    """
    if link == "log-softmax":
        return -_rows(gradient(loss, output), axis).sum(1, keepdim=True)
    ends: list[Tensor]
    if link == "softmax":
        if output.shape[axis] < 2:
            return _rows(torch.zeros_like(output), axis)
        ends = []
        for hot in (0, 1):
            probe = torch.zeros_like(output)
            probe.select(axis, hot).fill_(SATURATED)
            ends.append(gradient(loss, probe).select(axis, 0).reshape(-1, 1))
            del probe
        return ends[0] - ends[1]
    if link == "identity":
        # Slopes at the ends would be differences of large numbers: the second derivative is c itself.
        return _rows(KeptHessian(loss, output)(torch.ones_like(output)), axis)
    ends = [gradient(loss, torch.full_like(output, end)) for end in (SATURATED, -SATURATED)]
    return _rows(ends[0] - ends[1], axis)


def _recognised(loss: Loss, output: Tensor) -> Likelihood | None:
    """The likelihood whose slopes are those of `loss` at this output and at one far from it."""
    far = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output) * 8
    try:
        slope, far_slope = gradient(loss, output), gradient(loss, far)
        scale = torch.stack([slope.abs().max(), far_slope.abs().max()]).max()
        room = torch.finfo(output.dtype).eps ** 0.7 * scale
        for link, axis in _candidates(output):
            found = Likelihood(link, axis, _weights(loss, output, link, axis))
            if bool((found.weights < -room).any()) or not (bool(found.weights.any()) or not bool(scale)):
                continue
            change = found.weights * (_mean(link, found.rows(far)) - _mean(link, found.rows(output)))
            if bool((found.rows(far_slope - slope) - change).abs().max() <= room):
                return found
    # What a loss makes of outputs that it was not written for.
    except (RuntimeError, ValueError, IndexError):
        return None
    return None


def _candidates(output: Tensor) -> Iterator[tuple[Link, int]]:
    last = output.dim() - 1
    for axis in dict.fromkeys((last, min(1, last))):
        if output.shape[axis] > 1:
            yield "softmax", axis
            if _are_log_probabilities(output, axis):
                yield "log-softmax", axis
    yield "sigmoid", max(1, last)
    yield "identity", max(1, last)


def _mean(link: Link, rows: Tensor) -> Tensor:
    if link == "softmax":
        return rows.softmax(1)
    if link == "log-softmax":
        # The loss is linear in log-probabilities: its slope stays.
        return torch.zeros_like(rows)
    return rows.sigmoid() if link == "sigmoid" else rows


def _are_log_probabilities(output: Tensor, axis: int) -> bool:
    return bool(output.logsumexp(axis).abs().max() <= 100 * torch.finfo(output.dtype).eps ** 0.75)
