"""Trying whether permuting units changes a model's output."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from thalweg.initialization.sample import call, undisturbed
from thalweg.landscape.symmetry.group import Group
from thalweg.landscape.symmetry.seen import state

TOLERANCE = {torch.float64: 1e-8}
_COARSE = 1e-3


@torch.no_grad()
def changes_output(model: nn.Module, x: Any, groups: Sequence[Group], seed: int = 0) -> bool:
    """Whether a random arrangement of `groups` changes model(x), in evaluation mode.

    In double precision where the model works in it, and with every entry of the model disturbed, so that
    units that start alike, biases of zero and the like, do not hide a difference.
    """
    generator = np.random.default_rng(seed)
    trial, x = _doubled(model, x)
    plain = [tensor.clone() for tensor in state(trial).values()]
    _disturb(trial, seed)
    if not all(leaf.isfinite().all() for leaf in _outputs(trial, x)):
        for tensor, original in zip(state(trial).values(), plain, strict=True):
            tensor.copy_(original)
    before = _outputs(trial, x)
    tensors = state(trial)
    places = dict.fromkeys(place for group in groups for place in group.places)
    arrangement = {(name, axis): np.arange(tensors[name].shape[axis]) for name, axis in places}
    for group in groups:
        for inside in group.walk():
            inside.move(generator.permutation(inside.size), arrangement)
    for (name, axis), order in arrangement.items():
        tensor = tensors[name]
        tensor.copy_(tensor.index_select(axis, torch.from_numpy(order).to(tensor.device)))
    return any(_differ(a, b) for a, b in zip(before, _outputs(trial, x), strict=True))


def _doubled(model: nn.Module, x: Any) -> tuple[nn.Module, Any]:
    trial = copy.deepcopy(model).double()
    inputs = tree_map(
        lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, x
    )
    try:
        _outputs(trial, inputs)
    except Exception:
        return copy.deepcopy(model), x
    return trial, inputs


def _disturb(model: nn.Module, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for tensor in state(model).values():
        if tensor.is_floating_point() and tensor.numel():
            factor = 1 + 0.3 * torch.rand(tensor.shape, generator=draw).to(tensor)
            learned = isinstance(tensor, nn.Parameter)
            size = float(tensor.pow(2).mean().sqrt()) or 0.1
            shift = 0.1 * size * torch.randn(tensor.shape, generator=draw).to(tensor) if learned else 0.0
            # Buffers, variances among them, keep their signs.
            tensor.copy_(tensor * factor + shift)


def _outputs(model: nn.Module, x: Any) -> list[Tensor]:
    with undisturbed(model, "eval"):
        return [leaf.clone() for leaf in tree_leaves(call(model, x)) if isinstance(leaf, Tensor)]


def _differ(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return True
    if not a.is_floating_point():
        return not torch.equal(a, b)
    scale = float(a.abs().nan_to_num().max()) if a.numel() else 0.0
    close = torch.allclose(a, b, rtol=0, atol=TOLERANCE.get(a.dtype, _COARSE) * scale, equal_nan=True)
    return not close
