"""Batch-norm statistics re-estimated at another point than the one they were collected at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from thalweg.objective.batches import Batch, Batches, batch_size
from thalweg.objective.preserved import batchnorms


def recalibrated(
    module: nn.Module, batches: Batches, forward: Callable[[Batch, dict[str, Tensor]], object]
) -> dict[str, Tensor]:
    """Running means and variances of every batch-norm layer over all of `batches`, by buffer name.

    They are the averages of the batches' statistics, each weighted by its size; the batches are whole, so that
    microbatches change nothing. `forward` runs the module on a batch with the given buffers in place of its own.
    """
    layers = batchnorms(module)
    statistics = {
        f"{name}.{buffer}": value.detach().clone()
        for name, layer in layers.items()
        for buffer, value in layer.named_buffers(recurse=False)
    }
    before = [(layer, layer.momentum, layer.training) for layer in layers.values()]
    try:
        seen = 0
        for _, batch in replace(batches, microbatch=None):
            seen += batch_size(batch)
            for layer in layers.values():
                layer.training, layer.momentum = True, batch_size(batch) / seen
            with torch.no_grad():
                forward(batch, statistics)
    finally:
        for layer, momentum, training in before:
            layer.momentum, layer.training = momentum, training
    return statistics
