"""A model that draws random numbers in evaluation mode is found, and the module that does is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import StochasticObjective, ThalwegError
from thalweg.objective import Objective

from .zoo import normal

X, Y = normal(6, 4), torch.arange(6) % 3


class Noise(nn.Module):
    def __init__(self, scale=0.1):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x + self.scale * torch.randn_like(x)


class AlwaysDropout(nn.Module):
    """The usual slip: the functional form drops by default, whatever the mode."""

    def forward(self, x):
        return F.dropout(x)


class NumpyNoise(nn.Module):
    def forward(self, x):
        return x * np.random.rand()  # noqa: NPY002


class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x) + torch.rand(3)


def linear():
    return nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: nn.Sequential(linear(), Noise(), linear()), r": 1 \(Noise\) draws"),
        (
            lambda: nn.Sequential(linear(), nn.Sequential(linear(), nn.Sequential(Noise())), linear()),
            r": 1\.1\.0 \(Noise\) draws",
        ),
        (
            lambda: nn.Sequential(AlwaysDropout(), linear(), Noise()),
            r": 0 \(AlwaysDropout\), 2 \(Noise\) draws",
        ),
        (Root, r": Root \(Root\) draws"),
        (lambda: nn.Sequential(linear(), NumpyNoise()), ": the model or its loss draws"),
    ],
)
@pytest.mark.parametrize("call", ["loss", "gradient", "evaluator"])
def test_the_module_is_named(model, named, call):
    objective = Objective(model().double(), F.cross_entropy, (X, Y))

    def ask():
        if call != "evaluator":
            return getattr(objective, call)()
        with objective.evaluator() as values:
            return values(objective.point)

    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    for _ in range(2):
        with pytest.raises(StochasticObjective, match=named) as raised:
            ask()
    assert isinstance(raised.value, (ThalwegError, RuntimeError))
    assert "\n" not in str(raised.value)
    assert "module.training is False" in str(raised.value)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in objective.model.modules())


def test_a_loss_that_draws():
    objective = Objective(
        nn.Linear(4, 3).double(), lambda z, y: F.cross_entropy(z + torch.rand(3), y), (X, Y)
    )
    with pytest.raises(StochasticObjective, match="the model or its loss draws random numbers"):
        objective.loss()


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.9), nn.RReLU(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), Noise(0.0)]
)
def test_layers_that_are_random_in_training_alone_pass(layer):
    model = nn.Sequential(nn.Linear(4, 3), layer).double().train()
    objective = Objective(model, F.cross_entropy, (X, Y))
    model.eval()
    with torch.no_grad():
        wanted = F.cross_entropy(model(X), Y)
    model.train()
    torch.testing.assert_close(objective.loss(), wanted, rtol=1e-14, atol=0)


def test_a_loss_that_is_nan_is_not_taken_for_random():
    model = nn.Linear(4, 3).double()
    objective = Objective(model, F.cross_entropy, (X, Y))
    theta = torch.full_like(objective.point, float("nan"))
    assert torch.isnan(objective.loss(theta))
    objective = Objective(model, lambda z, y: F.cross_entropy(z, y) * float("nan"), (X, Y))
    assert torch.isnan(objective.loss())
    assert torch.isnan(objective.gradient()).all()
