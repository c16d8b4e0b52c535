"""An optimizer's state as tensors with names, to be kept in a run folder and loaded again bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Entries of parameter groups that change from step to step; the others are settings, which are given again.
_CARRIED = ("memory", "train_mode")


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that the next step depends on beside settings: tensors as they are, numbers as text.

    Text keeps every digit of a number, and that it is none of torch's.
    """
    held = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in held["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                numbers.setdefault(str(index), {})[key] = value
    groups = [{key: group[key] for key in _CARRIED if key in group} for group in held["param_groups"]]
    text = json.dumps({"groups": groups, "numbers": numbers}).encode()
    return tensors | {"text": torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())}


def load_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what `state_tensors` gave of an optimizer of the same kind, settings and parameters."""
    written: dict[str, Any] = {"groups": [], "numbers": {}}
    if "text" in tensors:
        written = json.loads(tensors["text"].numpy().tobytes())
    state: dict[int, dict[str, Any]] = {int(i): dict(entries) for i, entries in written["numbers"].items()}
    for name, tensor in tensors.items():
        index, dot, key = name.partition(".")
        if dot:
            state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    for group, carried in zip(groups, written["groups"], strict=False):
        group |= carried
    optimizer.load_state_dict({"state": state, "param_groups": groups})
