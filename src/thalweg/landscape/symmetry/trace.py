"""Running a model once to see what happens to its axes."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from thalweg.initialization.sample import call, undisturbed
from thalweg.landscape.symmetry.label_tracer import LabelTracer
from thalweg.landscape.symmetry.seen import Followed


@contextmanager
def _plain_kernels() -> Generator[None]:
    # Fused kernels of recurrent layers would hide what they do.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield


@torch.no_grad()
def follow(model: nn.Module, x: Any, tracer: LabelTracer | None = None) -> Followed:
    """Run model(x) in evaluation mode and label what happens; inputs and outputs are fixed.

    Where that reaches not all parameters, again in training mode, so that parts that work only there count too.
    """
    tracer = tracer or LabelTracer(model)
    with undisturbed(model, "eval"), _plain_kernels():
        # Without the tracer first, so that errors of the model are told apart from the tracer's.
        call(model, x)
        _run(model, x, tracer)
        if not tracer.found.reached.issuperset(name for name, _ in model.named_parameters()):
            model.train()
            # A model that cannot be trained on x has no such parts.
            with suppress(Exception):
                _run(model, x, tracer)
    return tracer.found


def _run(model: nn.Module, x: Any, tracer: LabelTracer) -> None:
    with tracer:
        output = model(**x) if isinstance(x, dict) else model(x)
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor):
            for label in tracer.labels_of(leaf):
                tracer.found.atoms.fix(label, "the output's order is fixed")
