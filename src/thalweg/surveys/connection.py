"""What connecting two models needs beside the landscape: matched units, and an optimizer by its name."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thalweg import landscape
from thalweg.errors import InvalidArgument
from thalweg.landscape.connectivity.curve import MakeOptimizer
from thalweg.objective import Objective
from thalweg.surveys.optimizers import construct, hyperparameters
from thalweg.surveys.subject import Subject


def aligned_state(
    subject: Subject,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    method: str,
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The second state dictionary with its units permuted to match the first's, by "weights" or "activations"."""
    objective = subject.objective
    assert isinstance(objective, Objective)
    a, b = copy.deepcopy(objective.model), copy.deepcopy(objective.model)
    a.load_state_dict(first, strict=False)
    b.load_state_dict(second, strict=False)
    _, batch = next(iter(objective.batches))
    x = batch[0] if isinstance(batch, (tuple, list)) else batch
    found = landscape.align(a, b, method=method, x=x, seed=seed)  # pyright: ignore[reportArgumentType] - checked there
    return dict(found.model.state_dict())


def path_optimizer(name: str, lr: float | None) -> MakeOptimizer | None:
    """What makes the optimizer called `name` from control points; None for the default, "adam" without a rate.

    Raises UnknownName, with the nearest names, and InvalidArgument for another optimizer without a rate.
    """
    hyperparameters(name)
    if lr is None:
        if name != "adam":
            raise InvalidArgument(f"--optimizer {name} needs its rate: give --lr")
        return None

    def make(controls: list[nn.Parameter]) -> torch.optim.Optimizer:
        return construct(name, nn.ParameterList(controls), lr=lr)

    return make
