"""The one place where a quantity over a data set becomes a sum over its batches.

Every loss, gradient, product and statistic goes through `weighted_sum`; summing over the ranks of a process
group would be added here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.objective.batches import Batch, Batches


def weighted_sum(batches: Batches, term: Callable[[int, Batch], Tensor]) -> Tensor:
    """Σ weight · term(number, batch) over the batches, where the weights of all batches sum to 1.

    Scalars and short vectors (up to 4096 entries) are summed in float64; the result has the term's dtype.
    """
    total: Tensor | None = None
    dtype: torch.dtype | None = None
    for number, (weight, batch) in enumerate(batches):
        # A model that differentiates inside brings its graph along, which must not outlive the batch.
        value = term(number, batch).detach()
        dtype = value.dtype
        if value.numel() <= 4096 and value.device.type != "mps":
            value = value.double()
        total = value * weight if total is None else total.add_(value, alpha=weight)
    assert total is not None, "Batches refuses empty data"
    assert dtype is not None
    return total.to(dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the device or the host had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = str(error)
    # The allocators of Linux and macOS, of Windows, and of devices.
    signs = "can't allocate memory", "not enough memory", "out of memory"
    return isinstance(error, RuntimeError) and any(sign in message for sign in signs)
