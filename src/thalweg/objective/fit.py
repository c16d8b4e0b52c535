"""Whether model, loss and data fit together."""

from __future__ import annotations

import math
from collections.abc import Callable

from thalweg.errors import InvalidArgument, ThalwegError
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.batches import Batch, batch_size, split, tensors
from thalweg.objective.weighted_sum import is_out_of_memory


def check_fit(module: BatchLoss, batch: Batch) -> None:
    """Raise one line that names the shapes when torch finds that model, data and loss do not fit together."""
    try:
        module(batch)
    except (RuntimeError, IndexError, ValueError) as error:
        misfit = any(
            sign in str(error) for sign in ("shape", "size", "dtype", "scalar type", "dimension", "out of")
        )
        if isinstance(error, ThalwegError) or is_out_of_memory(error) or not misfit:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        shapes = ", ".join(
            f"{tuple(leaf.shape)} {leaf.dtype}".replace("torch.", "") for leaf in tensors(batch)
        )
        raise InvalidArgument(
            f"model, loss and data do not fit: {reason} (a batch holds {shapes})"
        ) from error


def check_additive(module: BatchLoss, batch: Batch, count: Callable[[Batch], float]) -> None:
    """Raise when the loss of a batch is not the mean of its halves' by their counts, so that it must not be split."""
    if batch_size(batch) < 2:
        return
    halves = [half for half in split(batch, -(-batch_size(batch) // 2)) if count(half)]
    whole = float(module(batch))
    parts = sum(count(half) * float(module(half)) for half in halves) / sum(count(half) for half in halves)
    if whole == whole and not math.isclose(whole, parts, rel_tol=1e-3, abs_tol=1e-6):
        raise InvalidArgument(
            f"microbatch: the loss of a batch is {whole:.6g}, the mean over its halves {parts:.6g}: the loss averages "
            "over something else than samples; pass count=f with the number of terms in a batch, or whole batches"
        )
