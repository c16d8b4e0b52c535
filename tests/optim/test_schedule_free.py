"""Rules that take their gradient beside the iterate: Schedule-Free against its paper's equations, and both modes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tests.optim.references import oracle
from tests.optim.references.problem import gradient, initial
from tests.optim.training import build, fresh, give, held, point, train

from thalweg.errors import InvalidArgument

STEPS = 200
TWO_POINTS = ["nesterov", "schedule_free_sgd", "schedule_free_adamw"]


def last(path: Any) -> tuple[torch.Tensor, torch.Tensor]:
    *_, (x, y) = path
    return torch.from_numpy(x), torch.from_numpy(y)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    # 200 steps, each rounded at 1e-16, on a smooth loss.
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"weight_decay": 0.05}, {"weight_decay": 0.05}),
    ({"weight_lr_power": 0.5}, {"power": 0.5}),
    ({"warmup_steps": 50}, {}),
    (
        {"warmup_steps": 50, "weight_decay": 0.05, "weight_lr_power": 1.0},
        {"weight_decay": 0.05, "power": 1.0},
    ),
]


@pytest.mark.parametrize("beta", [0.9, 0.98, 0.5])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form[0]) or "plain")
def test_sgd_is_the_papers(form: tuple[dict[str, Any], dict[str, Any]], beta: float) -> None:
    options, said = form
    optimizer = build("schedule_free_sgd", fresh(), lr=0.05, momentum=beta, **options)
    train(optimizer, STEPS)
    rates = oracle.warmed(0.05, options.get("warmup_steps", 0), STEPS)
    x, y = last(oracle.schedule_free(initial(), gradient, rates, beta=beta, **said))
    close(point(optimizer), y)
    optimizer.eval()
    close(point(optimizer), x)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.98, 0.9)])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form[0]) or "plain")
def test_adamw_is_the_papers(form: tuple[dict[str, Any], dict[str, Any]], betas: tuple[float, float]) -> None:
    options, said = form
    optimizer = build("schedule_free_adamw", fresh(), lr=0.01, betas=betas, **options)
    train(optimizer, STEPS)
    rates = oracle.warmed(0.01, options.get("warmup_steps", 0), STEPS)
    path = oracle.schedule_free(initial(), gradient, rates, beta=betas[0], beta2=betas[1], **said)
    x, y = last(path)
    close(point(optimizer), y)
    optimizer.eval()
    close(point(optimizer), x)


def test_weights_may_grow_with_the_step() -> None:
    optimizer = build("schedule_free_sgd", fresh(), lr=0.05, r=2.0)
    x = z = initial()
    total = 0.0
    for t in range(1, 51):
        z = z - 0.05 * gradient(0.1 * z + 0.9 * x, t - 1)
        total += t**2
        x = x + t**2 / total * (z - x)
    train(optimizer, 50)
    optimizer.eval()
    close(point(optimizer), torch.from_numpy(x))


def test_at_a_constant_rate_the_iterate_is_the_mean_of_z() -> None:
    optimizer = build("schedule_free_sgd", fresh(), lr=0.05)
    points = []
    for step in range(20):
        train(optimizer, 1, step)
        points.append(torch.cat([optimizer.state[p]["z"].reshape(-1) for p in held(optimizer)]))
    optimizer.eval()
    close(point(optimizer), torch.stack(points).mean(0))


def test_a_schedule_on_top_weighs_by_the_largest_rate_so_far() -> None:
    optimizer = build("schedule_free_sgd", fresh(), lr=0.05)
    rates = 0.05 * np.where(np.arange(STEPS) < 100, 1.0, 0.1)
    for step, lr in enumerate(rates):
        optimizer.param_groups[0]["lr"] = lr
        train(optimizer, 1, step)
    x, y = last(oracle.schedule_free(initial(), gradient, rates))
    close(point(optimizer), y)
    optimizer.eval()
    close(point(optimizer), x)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_a_rate_of_zero_at_the_start_moves_nothing(name: str) -> None:
    optimizer = build(name, fresh(), lr=0.0)
    train(optimizer, 3)
    # Only the roundings of going to x and back.
    torch.testing.assert_close(point(optimizer), torch.from_numpy(initial()), rtol=1e-14, atol=1e-15)
    optimizer.param_groups[0]["lr"] = 0.05
    train(optimizer, 3, 3)
    assert point(optimizer).isfinite().all()
    assert (point(optimizer) - torch.from_numpy(initial())).abs().max() > 1e-3


@pytest.mark.parametrize("name", TWO_POINTS)
def test_a_step_in_evaluation_mode_is_an_error_that_changes_nothing(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 3)
    optimizer.eval()
    before, saved = point(optimizer), copy.deepcopy(optimizer.state_dict())
    calls: list[int] = []
    with pytest.raises(
        RuntimeError, match=r"evaluation mode.*call train\(\) before the forward pass"
    ) as caught:
        optimizer.step(lambda: calls.append(1))
    assert type(optimizer).__name__ in str(caught.value)
    assert not calls
    assert torch.equal(point(optimizer), before)
    assert repr(optimizer.state_dict()) == repr(saved)
    optimizer.train()
    train(optimizer, 1, 3)


@pytest.mark.parametrize("name", TWO_POINTS)
def test_modes_may_be_set_again_and_again(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 5)
    at_y = point(optimizer)
    optimizer.train()
    assert torch.equal(point(optimizer), at_y)
    optimizer.eval()
    at_x = point(optimizer)
    optimizer.eval()
    assert torch.equal(point(optimizer), at_x)
    assert (at_x - at_y).abs().max() > 1e-5
    for _ in range(100):
        optimizer.train()
        optimizer.eval()
    # At most a unit or two per round, and they do not build up.
    torch.testing.assert_close(point(optimizer), at_x, rtol=1e-13, atol=1e-14)
    optimizer.train()
    torch.testing.assert_close(point(optimizer), at_y, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", TWO_POINTS)
def test_changing_the_mode_costs_low_precision_two_units_at_most(name: str, dtype: torch.dtype) -> None:
    p = torch.linspace(-1, 1, 301, dtype=torch.float64).to(dtype).requires_grad_()
    optimizer = build(name, [p])
    for step in range(4):
        p.grad = (torch.sin(torch.arange(301.0) + step)).to(dtype)
        optimizer.step()
    before = p.detach().clone()
    for _ in range(10):
        optimizer.eval()
        optimizer.train()
    error = (p.detach() - before).abs().double()
    assert (error <= 2 * torch.finfo(dtype).eps * before.abs().double().clamp(min=0.25)).all()


@pytest.mark.parametrize("name", TWO_POINTS)
def test_modes_before_the_first_step_move_nothing(name: str) -> None:
    optimizer, other = build(name, fresh()), build(name, fresh())
    optimizer.eval()
    assert torch.equal(point(optimizer), torch.from_numpy(initial()))
    optimizer.train()
    train(optimizer, 5)
    train(other, 5)
    assert torch.equal(point(optimizer), point(other))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", TWO_POINTS)
def test_a_run_saved_in_either_mode_goes_on_exactly(name: str, mode: str) -> None:
    options = {} if name == "nesterov" else {"warmup_steps": 30}
    first = build(name, fresh(), **options)
    train(first, 20)
    getattr(first, mode)()
    saved, weights = first.state_dict(), [p.detach().clone() for p in held(first)]
    second = build(name, [w.requires_grad_() for w in weights], **options)
    second.load_state_dict(saved)
    assert second.param_groups[0]["train_mode"] == (mode == "train")
    if mode == "eval":
        with pytest.raises(RuntimeError, match="evaluation mode"):
            second.step()
    for optimizer in (first, second):
        optimizer.train()
        train(optimizer, 20, 20)
        optimizer.eval()
    assert torch.equal(point(first), point(second))


@pytest.mark.parametrize("name", TWO_POINTS)
def test_a_copy_in_evaluation_mode_stays_in_it(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 3)
    optimizer.eval()
    other = copy.deepcopy(optimizer)
    with pytest.raises(RuntimeError, match="evaluation mode"):
        other.step()
    assert torch.equal(point(other), point(optimizer))
    for each in (optimizer, other):
        each.train()
        train(each, 3, 3)
    assert torch.equal(point(other), point(optimizer))


@pytest.mark.parametrize("name", TWO_POINTS)
def test_a_group_added_in_evaluation_mode_trains_after_train(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 3)
    optimizer.eval()
    late = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer.add_param_group({"params": [late]})
    with pytest.raises(RuntimeError, match="evaluation mode"):
        optimizer.step()
    optimizer.train()
    give(held(optimizer)[:4], 3)
    late.grad = torch.ones_like(late)
    optimizer.step()
    assert (late < 1).all()


def test_parameters_that_start_late_start_where_they_are() -> None:
    early, late = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = build("schedule_free_sgd", [early, late], lr=0.1)
    for step in range(5):
        early.grad = torch.ones_like(early)
        late.grad = torch.ones_like(late) if step == 4 else None
        optimizer.step()
    z = optimizer.state[late]["z"]
    torch.testing.assert_close(z, torch.full_like(z, 0.9), rtol=1e-14, atol=0)
    optimizer.eval()
    # Its group has taken five steps, so a fifth of the way to z.
    torch.testing.assert_close(late.detach(), torch.full_like(late, 0.98), rtol=1e-14, atol=0)


def test_other_rules_have_modes_without_effect() -> None:
    optimizer = build("adam", fresh())
    train(optimizer, 2)
    before = point(optimizer)
    optimizer.eval()
    assert torch.equal(point(optimizer), before)
    train(optimizer, 1, 2)


def test_momentum_must_leave_the_average_some_weight() -> None:
    for momentum in (0.0, 1.0):
        with pytest.raises(InvalidArgument, match="momentum must be in"):
            build("schedule_free_sgd", fresh(), momentum=momentum)
