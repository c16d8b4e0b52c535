"""Training runs that the tests of optimizers share: the reference network, every rule, and torch's twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.optim.references.problem import flat, gradient, parameters, unflatten
from torch import Tensor

import thalweg.optim as ours
from thalweg.optim import RuleOptimizer

NAMES = [
    name for name in ours.names() if issubclass(ours.get(name), RuleOptimizer) and ours.get(name).columns
]
"""The elementwise rules, which are built from parameters alone."""

RATES = {"schedule_free_sgd": 0.05, "lion": 1e-3}
"""Rates that train the network where 0.01 or the default would not."""

TWINS: dict[str, Any] = {
    "gradient_descent": torch.optim.SGD,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("gradient_descent", {"lr": 0.05}),
    ("gradient_descent", {"lr": 0.05, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.05}),
    ("sgd", {"lr": 0.05, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.02, "momentum": 0.9}),
    ("sgd", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3}),
    ("sgd", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("sgd", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("sgd", {"lr": 1e-4, "momentum": 0.5, "maximize": True}),
    ("adagrad", {"lr": 0.05}),
    ("adagrad", {"lr": 0.05, "lr_decay": 0.01}),
    ("adagrad", {"lr": 0.05, "initial_accumulator_value": 0.1}),
    ("adagrad", {"lr": 0.05, "lr_decay": 0.01, "weight_decay": 0.01, "eps": 1e-6}),
    ("adagrad", {"lr": 0.005, "weight_decay": 0.1, "maximize": True}),
    ("rmsprop", {"lr": 0.002, "alpha": 0.9}),
    ("rmsprop", {"lr": 0.002, "alpha": 0.99, "weight_decay": 0.01}),
    ("rmsprop", {"lr": 0.002, "alpha": 0.9, "centered": True, "eps": 1e-4}),
    ("rmsprop", {"lr": 0.002, "alpha": 0.9, "momentum": 0.5}),
    ("rmsprop", {"lr": 0.002, "alpha": 0.95, "momentum": 0.9, "centered": True, "eps": 1e-4}),
    ("rmsprop", {"lr": 0.001, "alpha": 0.9, "maximize": True}),
    ("adam", {"lr": 0.01}),
    ("adam", {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3}),
    ("adam", {"lr": 0.01, "weight_decay": 0.1}),
    ("adam", {"lr": 0.01, "amsgrad": True}),
    ("adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("adamw", {"lr": 0.01}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
]
"""Rules in all their forms, by options that torch's twin takes too."""


def form_id(form: tuple[str, dict[str, Any]]) -> str:
    """A form in words, for a test's name."""
    name, options = form
    return "-".join([name, *(f"{key}={value}" for key, value in options.items() if key != "lr")])


def build(name: str, params: Any, **options: Any) -> Any:
    """The optimizer `name`, with a rate that suits the network unless one is given."""
    return ours.get(name)(params, **({"lr": RATES.get(name, 0.01)} | options))


def twin(name: str, params: Any, **options: Any) -> Any:
    """Torch's optimizer for the rule `name`, in the plain loop over tensors that its foreach forms are held to."""
    return TWINS[name](params, **({"foreach": False} | options))


def fresh(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The network's parameters at the start."""
    return [p.detach().to(dtype).requires_grad_() for p in parameters()]


def give(params: Sequence[Tensor], step: int) -> None:
    """Set the gradients that the minibatch of `step` has at the parameters; computed in float64."""
    slopes = unflatten(gradient(flat(params).astype(np.float64), step))
    for p, slope in zip(params, slopes, strict=True):
        p.grad = torch.from_numpy(slope).to(p.dtype)


def train(optimizer: torch.optim.Optimizer, steps: int, start: int = 0) -> None:
    """Train the optimizer's four parameters from step `start` on."""
    params = held(optimizer)
    for step in range(start, start + steps):
        give(params, step)
        optimizer.step()


def held(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The optimizer's parameters in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def point(optimizer: torch.optim.Optimizer) -> Tensor:
    """What the optimizer's parameters hold, as one float64 vector."""
    return torch.cat([p.detach().double().reshape(-1) for p in held(optimizer)])


def update_alone(monkeypatch: pytest.MonkeyPatch, elements: int, block: int) -> None:
    """Make parameters of so many elements large enough to be updated alone, a block at a time."""
    monkeypatch.setattr("thalweg.optim.driver.plan.PACK_BELOW", elements)
    monkeypatch.setattr("thalweg.optim.driver.flat.BLOCK", block)
