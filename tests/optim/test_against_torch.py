"""Rules against torch.optim, step by step on a small network."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from tests.optim.references import oracle
from tests.optim.references.problem import gradient, initial, unflatten
from tests.optim.training import FORMS, build, form_id, fresh, point, train, twin, update_alone

import thalweg.optim as ours

STEPS = 300
Form: TypeAlias = tuple[str, dict[str, Any]]


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference relative to the largest entry."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_the_path_is_torchs(form: Form) -> None:
    name, options = form
    mine, theirs = build(name, fresh(), **options), twin(name, fresh(), **options)
    for start in range(0, STEPS, 50):
        train(mine, 50, start)
        train(theirs, 50, start)
        # Both round each of 300 steps at 1e-16, in another order; the smooth loss lets that grow some thousandfold.
        assert distance(point(mine), point(theirs)) < 1e-10


@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_the_path_is_the_same_when_each_parameter_is_updated_alone_in_blocks(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options = form
    packed, alone = build(name, fresh(), **options), build(name, fresh(), **options)
    train(packed, 10)
    update_alone(monkeypatch, 0, 7)
    train(alone, 10)
    # Vector instructions at the end of a block may round otherwise than within it: 10 steps at 1e-16.
    assert distance(point(alone), point(packed)) < 1e-13


@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_single_precision_is_as_close_to_the_exact_path_as_torchs(form: Form) -> None:
    name, options = form
    exact = twin(name, fresh(), **options)
    mine, theirs = (maker(name, fresh(torch.float32), **options) for maker in (build, twin))
    for optimizer in (exact, mine, theirs):
        train(optimizer, 100)
    # Rounding is at most about half a unit in the last place for each of three operations on θ in each step.
    unavoidable = 100 * 1.5 * torch.finfo(torch.float32).eps
    assert distance(point(mine), point(exact)) < 3 * distance(point(theirs), point(exact)) + unavoidable


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_half_precision_rounds_once_a_step(name: str, dtype: torch.dtype) -> None:
    options = {"lr": 0.05} if name == "sgd" else {"lr": 0.05, "weight_decay": 0.1, "eps": 1e-3}
    start = torch.linspace(-1, 1, 101, dtype=torch.float64).to(dtype)
    g = torch.linspace(2, -1, 101, dtype=torch.float64).to(dtype)
    half, double = start.clone().requires_grad_(), start.double().requires_grad_()
    for optimizer, p in ((build(name, [half], **options), half), (twin(name, [double], **options), double)):
        p.grad = g.to(p.dtype)
        optimizer.step()
    # The nearest number of half precision, unless float32 put the result on the other side of a tie.
    assert (half.detach() == double.detach().to(dtype)).double().mean() > 0.98
    assert distance(half.detach().double(), double.detach()) <= torch.finfo(dtype).eps


def test_names_as_in_torch_are_aliases() -> None:
    assert ours.Adagrad is ours.AdaGrad
    assert ours.RMSprop is ours.RMSProp


@pytest.mark.parametrize("lr", [0.02, 0.1])
def test_nesterov_in_training_mode_holds_torchs_parameters(lr: float) -> None:
    mine = build("nesterov", fresh(), lr=lr, momentum=0.8)
    theirs = twin("sgd", fresh(), lr=lr, momentum=0.8, nesterov=True)
    for start in range(0, STEPS, 50):
        train(mine, 50, start)
        train(theirs, 50, start)
        assert distance(point(mine), point(theirs)) < 1e-10


def test_nesterov_in_evaluation_mode_holds_the_iterate() -> None:
    mine = build("nesterov", fresh(), lr=0.05, momentum=0.8)
    train(mine, STEPS)
    mine.eval()
    path = oracle.nesterov(initial(), gradient, oracle.constant(0.05, STEPS), 0.8)
    *_, (theta, look_ahead) = path
    assert distance(point(mine), torch.from_numpy(theta)) < 1e-10
    mine.train()
    assert distance(point(mine), torch.from_numpy(look_ahead)) < 1e-10


def test_momentum_at_a_constant_rate_is_torchs() -> None:
    mine = build("momentum", fresh(), lr=0.02, momentum=0.9)
    theirs = twin("sgd", fresh(), lr=0.02, momentum=0.9)
    train(mine, STEPS)
    train(theirs, STEPS)
    assert distance(point(mine), point(theirs)) < 1e-10


def test_momentum_differs_from_torchs_under_a_schedule_as_the_equations_say() -> None:
    rates = np.where(np.arange(STEPS) < 100, 0.02, 0.002)
    mine, theirs = build("momentum", fresh(), momentum=0.9), twin("sgd", fresh(), momentum=0.9)
    points = []
    for optimizer in (mine, theirs):
        for step, lr in enumerate(rates):
            optimizer.param_groups[0]["lr"] = lr
            train(optimizer, 1, step)
        points.append(point(optimizer))
    *_, inside = oracle.momentum(initial(), gradient, rates, 0.9)
    *_, outside = oracle.buffered_momentum(initial(), gradient, rates, 0.9)
    assert distance(points[0], torch.from_numpy(inside)) < 1e-10
    assert distance(points[1], torch.from_numpy(outside)) < 1e-10
    # Right after the drop the velocity gathered at the high rate goes on: ten times as far.
    assert distance(*points) > 1e-4


@pytest.mark.parametrize(
    "form", [("adagrad", {"lr": 0.05}), ("rmsprop", {"lr": 0.002}), ("lion", {"lr": 0.001})]
)
def test_defaults_are_the_papers(form: Form) -> None:
    name, options = form
    mine = build(name, fresh(), **options)
    train(mine, STEPS)
    rates = oracle.constant(options["lr"], STEPS)
    path = {
        "adagrad": lambda: oracle.adagrad(initial(), gradient, rates, 1e-10),
        "rmsprop": lambda: oracle.rmsprop(initial(), gradient, rates, 0.9, 1e-8),
        "lion": lambda: oracle.lion(initial(), gradient, rates),
    }[name]()
    *_, theta = path
    assert distance(point(mine), torch.from_numpy(theta)) < 1e-10


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad"])
def test_defaults_are_torchs(name: str) -> None:
    mine, theirs = ours.get(name)(fresh()), twin(name, fresh())
    assert {key: theirs.defaults[key] for key in mine.defaults} == mine.defaults
    assert mine.param_groups[0].keys() <= theirs.param_groups[0].keys()


def test_the_network_is_trained() -> None:
    mine = build("adam", fresh(), lr=0.01)
    before = np.linalg.norm(gradient(initial()))
    train(mine, STEPS)
    after = np.linalg.norm(gradient(point(mine).numpy()))
    assert after < before / 5
    assert [p.shape for p in mine.param_groups[0]["params"]] == [part.shape for part in unflatten(initial())]
