"""After every call, and after every exception in one, the model and all random states are as before, to the bit."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.objective import Objective

from .zoo import normal, seeded


class Everything(nn.Module):
    """One layer of each kind that keeps a state, with parts frozen, tied and in different modes.

    `trip` is called at each forward pass. Draws random numbers in a way that does not change the output.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.rnn = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 3)
        self.again = nn.Linear(3, 3)
        self.again.weight = self.head.weight
        self.register_buffer("written", torch.zeros(2))
        self.register_buffer("replaced", torch.tensor(0.0))
        self.register_buffer("hidden", torch.ones(1), persistent=False)
        self.trip = lambda: None

    def forward(self, x):
        self.trip()
        torch.rand(()), np.random.rand(), random.random()  # noqa: NPY002 - the state that must be put back
        self.written.add_(1)
        self.replaced = self.replaced + 1
        self.hidden.mul_(2)
        x = self.drop(self.norm(self.first(x)))
        return self.again(torch.tanh(self.head(self.rnn(x[:, None])[0][:, -1])))


X, Y = normal(7, 3), torch.arange(7) % 3


@pytest.fixture
def model():
    model = seeded(Everything())
    model.train()
    model.norm.eval()
    model.drop.train(False)
    model.first.bias.requires_grad_(False)
    F.cross_entropy(model(X), Y).backward()
    model.again.bias.grad = None
    return model


def snapshot(model):
    """All that a caller could notice, the identity of each tensor included."""
    with torch.inference_mode(False):
        return {
            "parameters": [
                (n, id(p), p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()
            ],
            "gradients": [
                p.grad if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()
            ],
            "buffers": [(n, id(b), b.clone()) for n, b in model.named_buffers()],
            "state": list(model.state_dict()),
            "modes": [(n, m.training) for n, m in model.named_modules()],
            "tracking": (model.norm.momentum, model.norm.track_running_stats),
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
            "recurrent": [id(w) for w in model.rnn._flat_weights] == [id(p) for p in model.rnn.parameters()],
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state()[1:],  # noqa: NPY002
            "python": random.getstate(),
            "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
            "kernels": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cudnn.enabled),
            "autocast": torch.is_autocast_enabled("cpu"),
        }


def assert_unchanged(before, after):
    assert before.keys() == after.keys()
    for key in before:
        _same(before[key], after[key], f"{key} changed")


def _same(a, b, where):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b), where
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for left, right in zip(a, b, strict=True):
            _same(left, right, where)
    else:
        assert a == b, where


def evaluator(objective, theta):
    with objective.evaluator(["loss", "accuracy"]) as values:
        values(theta)
        values(theta + 1)


def many_points(objective, theta):
    with objective.evaluator(points=3) as values:
        values(theta)


CALLS = {
    "loss": lambda o, t: o.loss(),
    "loss at θ": lambda o, t: o.loss(t),
    "gradient": lambda o, t: o.gradient(t),
    "hvp": lambda o, t: o.hvp(t, t),
    "ggnvp": lambda o, t: o.ggnvp(t[:, None], t),
    "values": lambda o, t: o.at(t).values(["loss", "accuracy", "gradient_norm"]),
    "measure": lambda o, t: o.at(t).measure(["loss", "accuracy"]),
    "evaluator": evaluator,
    "evaluator of many points": many_points,
    "flatten": lambda o, t: o.flatten(o.state(t)),
    "kept_bytes": lambda o, t: o.kept_bytes(),
    "fingerprint": lambda o, t: o.fingerprint(),
}


@pytest.mark.parametrize("batchnorm", ["eval", "batch", "recalibrate"])
@pytest.mark.parametrize("call", CALLS)
def test_calls_leave_no_trace(model, call, batchnorm):
    objective = Objective(model, F.cross_entropy, (X, Y), batch_size=4, batchnorm=batchnorm)
    theta = objective.point + 0.1
    before = snapshot(model)
    CALLS[call](objective, theta)
    assert_unchanged(before, snapshot(model))
    CALLS[call](objective, theta)
    assert_unchanged(before, snapshot(model))


def test_construction_leaves_no_trace(model):
    shuffled = DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True, generator=torch.Generator())
    state = shuffled.generator.get_state()
    before = snapshot(model)
    for data in (
        (X, Y),
        [(X, Y)],
        TensorDataset(X, Y),
        shuffled,
        DataLoader(TensorDataset(X, Y), shuffle=True),
    ):
        objective = Objective(model, F.cross_entropy, data, memory_budget=0)
        assert_unchanged(before, snapshot(model))
        objective.loss()
        assert_unchanged(before, snapshot(model))
    assert torch.equal(state, shuffled.generator.get_state())


def test_the_generator_of_a_loader_in_order_is_put_back(model):
    loader = DataLoader(TensorDataset(X, Y), batch_size=3, generator=torch.Generator().manual_seed(1))
    state = loader.generator.get_state()
    Objective(model, F.cross_entropy, loader, memory_budget=0).loss()
    assert torch.equal(state, loader.generator.get_state())


class Trip(Exception):
    """Raised from inside the user's code."""


@pytest.mark.parametrize("error", [Trip, KeyboardInterrupt])
@pytest.mark.parametrize("passes", range(4))
@pytest.mark.parametrize("call", ["loss at θ", "gradient", "hvp", "ggnvp", "values", "measure", "evaluator"])
@pytest.mark.parametrize("where", ["model", "loss"])
def test_exceptions_leave_no_trace(model, call, passes, error, where):
    countdown = [0]

    def trip():
        countdown[0] -= 1
        if countdown[0] == 0:
            raise error("tripped")

    def loss(output, target):
        if where == "loss":
            trip()
        return F.cross_entropy(output, target)

    if where == "model":
        model.trip = trip
    batchnorm = ["eval", "batch", "recalibrate"][passes % 3]
    objective = Objective(model, loss, (X, Y), batch_size=4, batchnorm=batchnorm)
    theta = objective.point + 0.1
    before = snapshot(model)
    # Two forward passes look for randomness, two go over the batches: the error comes in each of them.
    countdown[0] = passes + 1
    with pytest.raises(error, match="tripped"):
        CALLS[call](objective, theta)
    assert_unchanged(before, snapshot(model))
    countdown[0] = 0
    wanted = Objective(model, F.cross_entropy, (X, Y), batch_size=4, batchnorm=batchnorm)
    assert torch.equal(objective.gradient(theta), wanted.gradient(theta))
    # And once more when nothing is checked for the first time any longer.
    countdown[0] = 1
    with pytest.raises(error, match="tripped"):
        CALLS[call](objective, theta)
    assert_unchanged(before, snapshot(model))


@pytest.mark.parametrize("batchnorm", ["eval", "recalibrate"])
def test_an_interrupted_point_still_gives_the_right_values(model, batchnorm):
    countdown = [0]

    def trip():
        countdown[0] -= 1
        if countdown[0] == 0:
            raise KeyboardInterrupt

    model.trip = trip
    objective = Objective(model, F.cross_entropy, (X, Y), batch_size=4, batchnorm=batchnorm)
    theta = objective.point + 0.1
    v = normal(objective.size)
    wanted = objective.gradient(theta), objective.hvp(v, theta)
    for passes in range(1, 6):
        here = objective.at(theta)
        countdown[0] = passes
        with contextlib.suppress(KeyboardInterrupt):
            here.hvp(v)
        countdown[0] = 0
        torch.testing.assert_close((here.gradient(), here.hvp(v)), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("error", [Trip, KeyboardInterrupt])
def test_the_evaluator_moves_the_model_only_inside(model, error):
    objective = Objective(model, F.cross_entropy, (X, Y))
    theta = objective.point + 0.1
    objective.loss()
    before = snapshot(model)

    def interrupted():
        with objective.evaluator() as values:
            values(theta)
            assert torch.equal(objective.point, theta)
            assert not model.training
            raise error

    with pytest.raises(error):
        interrupted()
    assert_unchanged(before, snapshot(model))


def test_set_point_writes_the_selected_parameters_and_nothing_else(model):
    objective = Objective(model, F.cross_entropy, (X, Y), parameters="first.weight")
    before = snapshot(model)
    theta = objective.point
    objective.set_point(theta + 1)
    assert torch.equal(model.first.weight.detach().flatten(), theta + 1)
    objective.set_point(theta)
    assert_unchanged(before, snapshot(model))
    with pytest.raises(ValueError, match="theta must have shape"):
        objective.set_point(theta[1:])
    assert_unchanged(before, snapshot(model))


def test_kept_graphs_survive_a_buffer_that_counts(model):
    # The buffers that each pass changes are put back between products; what the graph holds must not be.
    objective = Objective(model, F.cross_entropy, (X, Y), batch_size=4)
    v = normal(objective.size)
    with objective.at() as here:
        first = here.hvp(v)
        here.gradient()
        here.ggnvp(v)
        assert torch.equal(here.hvp(v), first)


def test_gradients_are_not_accumulated_where_there_were_none():
    model = seeded(nn.Linear(3, 3))
    objective = Objective(model, F.cross_entropy, (X, Y))
    objective.hvp(objective.gradient())
    objective.ggnvp(objective.gradient())
    assert all(p.grad is None for p in model.parameters())
