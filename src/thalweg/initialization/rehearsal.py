"""A few steps of gradient descent on a copy of a model's parameters, to see what training does to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from thalweg.initialization.draw import generator
from thalweg.initialization.sample import undisturbed
from thalweg.initialization.signals import random_cotangent

STEPS = 6
"""A head of zeros hides the layers behind it for one step, a zero layer behind another for one more."""

STEP = 0.1


@dataclass(frozen=True)
class Rehearsal:
    """The trainable parameters by name before and after; reached: those that got a gradient, zero or not."""

    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    reached: frozenset[str]


def rehearse(model: nn.Module, x: Any, seed: int) -> Rehearsal | None:
    """Descend ⟨r, model(x)⟩ for STEPS steps; None when it has no gradient. The model itself is not touched.

    The step of each tensor is along its gradient and of length STEP times its size, so that no layer is left
    behind because its gradient is small. Scaling whole tensors keeps every symmetry that plain descent keeps.
    In double precision where the model allows it: rounding tells units apart that are equal, and more than it
    should where it decides on which side of a ReLU's corner they are.
    """
    with undisturbed(model), torch.enable_grad():
        try:
            return _descend(model, x, seed, torch.float64)
        except Exception:
            return _descend(model, x, seed, None)


def _descend(model: nn.Module, x: Any, seed: int, dtype: torch.dtype | None) -> Rehearsal | None:
    def cast(value: Any) -> Any:
        return value.to(dtype) if dtype and isinstance(value, Tensor) and value.is_floating_point() else value

    before = {name: cast(p.detach()).clone() for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: cast(p.detach()) for name, p in model.named_parameters() if not p.requires_grad}
    fixed |= {name: cast(buffer) for name, buffer in model.named_buffers()}
    x = tree_map(cast, x)
    arguments, keywords = ((), x) if isinstance(x, dict) else ((x,), {})
    current = dict(before)
    reached: set[str] = set()
    for _ in range(STEPS):
        theta = {name: value.clone().requires_grad_() for name, value in current.items()}
        output = functional_call(model, theta | fixed, arguments, keywords)
        total = random_cotangent(output, generator(seed))
        if total is None or not total.requires_grad:
            return None
        # With allow_unused some are None, whatever the annotation says.
        gradients: Any = torch.autograd.grad(total, list(theta.values()), allow_unused=True)
        for (name, value), gradient in zip(current.items(), gradients, strict=True):
            if gradient is not None:
                reached.add(name)
                current[name] = _stepped(value, gradient.to_dense())
    return Rehearsal(before, current, frozenset(reached))


def _stepped(value: Tensor, gradient: Tensor) -> Tensor:
    largest = float(gradient.abs().max()) if gradient.numel() else 0.0
    if not 0 < largest < float("inf"):
        return value
    # Sums in another order differ in their last digits: without these, equal units get equal gradients.
    digits = largest * torch.finfo(value.dtype).eps ** 0.6
    direction = torch.round(gradient / digits) * digits
    size = max(float(value.norm()), value.shape[0] ** 0.5 if value.dim() else 1.0)
    return value - STEP * size / float(direction.norm()) * direction
