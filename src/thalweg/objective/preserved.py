"""Evaluating a user's model without leaving a trace in it."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - the public ones' base

from thalweg.errors import NotDifferentiable

_RECOMPUTES = (
    "the model recomputes activations in its backward pass (torch.utils.checkpoint), where it has its own parameters: "
    "turn that off to measure it; memory_budget and microbatch keep memory small"
)


def batchnorms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The batch-norm layers of `model` that keep running statistics, by name."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    return {name: module for name, module in found.items() if module.running_mean is not None}


@contextmanager
def preserved_rng() -> Generator[None]:
    """Put the random state of torch, NumPy and Python back at the end."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def uncompiled() -> AbstractContextManager[Any]:
    """Inside, what the user compiled runs as it was before: compiled code has no second derivative."""
    # Nothing is compiled before torch has imported its compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def kept_activations() -> Generator[None]:
    """Inside, a model that recomputes activations in its backward pass is refused with NotDifferentiable.

    It would do so with its own parameters, not with those that it is evaluated at. Where saved tensors are already
    packed by whoever calls it cannot be told.
    """
    with ExitStack() as entered:
        with suppress(RuntimeError):
            entered.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(_RECOMPUTES))
        try:
            yield
        except RuntimeError as error:
            if str(error) == _RECOMPUTES:
                raise NotDifferentiable(_RECOMPUTES) from None
            raise


@contextmanager
def preserved(model: nn.Module, *, batch_statistics: bool = False) -> Generator[None]:
    """Run `model` in evaluation mode; mode, buffers and random state are as before afterwards.

    With `batch_statistics` its batch-norm layers use the statistics of the batch they see, and keep none.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    recurrent = [m for m in model.modules() if isinstance(m, nn.RNNBase)]
    tracking = [(m, m.track_running_stats) for m in batchnorms(model).values()] if batch_statistics else []
    try:
        for module, _ in modes:
            module.training = False
        for module, _ in tracking:
            module.training, module.track_running_stats = True, False
        with preserved_rng():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, tracked in tracking:
            module.track_running_stats = tracked
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                # A module may have put another tensor in the place of its buffer.
                if getattr(module, name) is not buffer:
                    setattr(module, name, buffer)
                # Untouched buffers are not written: a graph that is kept for later products may hold them.
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        for module in recurrent:
            # These layers remember the tensors that their last forward pass used; ours must not stay behind.
            module._init_flat_weights()  # pyright: ignore[reportPrivateUsage] - torch has no public way
