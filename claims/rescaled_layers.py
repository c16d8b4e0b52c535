"""K14: a ReLU network with rescaled layers is the same function, and only normalized slices of it look the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

import thalweg as tw
from claims.finding import Finding
from claims.training import Trained, digits

ALPHA = 10.0


def findings() -> Iterator[Finding]:
    """A trained network on digits, and the same with its first layer times α and the second over α."""
    trained = digits(0)
    twin = Trained(_rescaled(trained.model), [], trained.data)
    name = f"MLP 64-64-10 on digits and its twin with layers times {ALPHA:g} and over {ALPHA:g}"
    with torch.no_grad():
        one, other = (network.model(trained.data[0]) for network in (trained, twin))
    apart = float((one - other).abs().max() / one.abs().max())
    yield Finding("K14", f"{name}: largest difference of their outputs, relative", apart, most=1e-5)
    yield Finding(
        "K14", "largest ratio of losses on a plain line", float(np.exp(_apart(trained, twin, "none"))), 5
    )
    filtered = float(np.expm1(_apart(trained, twin, "filter")))
    yield Finding("K14", "largest relative difference on a filter-normalized line", filtered, most=1e-4)


def _rescaled(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model)
    first, _, second = twin.children()
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    with torch.no_grad():
        first.weight.mul_(ALPHA)
        first.bias.mul_(ALPHA)
        second.weight.div_(ALPHA)
    return twin


def _apart(one: Trained, other: Trained, normalization: tw.landscape.Normalization) -> float:
    """The largest abs(log) of the ratio of their losses along the random line of one seed."""
    losses = list[np.ndarray]()
    for trained in (one, other):
        objective = trained.objective(len(trained.data[0]))
        line = tw.landscape.random_line(objective, normalization, seed=0)
        losses.append(tw.landscape.evaluate(objective, line, rtol=None).values["loss"])
    return float(np.abs(np.log(losses[0] / losses[1])).max())
