"""The contract of torch.optim.Optimizer, kept by every elementwise rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.optim.training import NAMES, RATES, build, twin, update_alone
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR

import thalweg.optim as ours

SHAPES = ((8, 5), (6,), (3, 2, 2), ())
# Schedule-Free averages with weights that its group shares, so a parameter's path depends on the others' steps.
INDEPENDENT = [name for name in NAMES if not name.startswith("schedule_free")]


@pytest.fixture(params=["packed", "mixed"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parameters packed; or the first (40 elements) alone and in blocks, the others packed."""
    if request.param == "mixed":
        update_alone(monkeypatch, 40, 16)


def tensors(seed: int, shapes: Any = SHAPES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def leaves(seed: int = 0, shapes: Any = SHAPES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [tensor.requires_grad_() for tensor in tensors(seed, shapes, dtype)]


def advance(optimizer: Any, params: list[Tensor], step: int, present: Any = None) -> None:
    """One step with gradients that only depend on the step; where `present` is false, without."""
    for place, (p, g) in enumerate(zip(params, tensors(100 + step, [p.shape for p in params]), strict=True)):
        p.grad = g.to(p.dtype) if present is None or present[place] else None
    optimizer.step()


def equal(a: Any, b: Any) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_groups_have_their_own_options(name: str) -> None:
    together, apart = leaves(), leaves()
    extra = {"lr": 0.003, "weight_decay": 0.1, "maximize": True}
    both = build(name, [{"params": together[:2]}, {"params": together[2:], **extra}])
    singles = build(name, apart[:2]), build(name, apart[2:], **extra)
    for step in range(5):
        advance(both, together, step)
        for p, q in zip(together, apart, strict=True):
            q.grad = p.grad
        for single in singles:
            single.step()
    assert equal(together, apart)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_a_group_may_be_added_in_the_middle(name: str) -> None:
    params, late, alone = leaves(0), leaves(1), leaves(1)
    optimizer, other = build(name, params), build(name, alone, lr=0.003)
    for step in range(3):
        advance(optimizer, params, step)
    optimizer.add_param_group({"params": late, "lr": 0.003})
    for step in range(3):
        advance(other, alone, step)
        for p, q in zip(late, alone, strict=True):
            p.grad = q.grad
        optimizer.step()
    assert equal(late, alone)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", INDEPENDENT)
@settings(max_examples=8, deadline=None)
@given(present=st.lists(st.tuples(*[st.booleans()] * len(SHAPES)), min_size=1, max_size=8))
def test_a_parameter_without_gradient_waits(name: str, present: list[tuple[bool, ...]]) -> None:
    """The set of parameters that move may change at every step: each goes its own way, and counts its own steps."""
    together, apart = leaves(), leaves()
    optimizer, singles = build(name, together), [build(name, [q]) for q in apart]
    for step, here in enumerate(present):
        advance(optimizer, together, step, here)
        for place, (p, q) in enumerate(zip(together, apart, strict=True)):
            if here[place]:
                q.grad = p.grad
                singles[place].step()
    for p, q in zip(together, apart, strict=True):
        # Rounding may differ at the end of a vector: at most 8 steps of one unit each.
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)
    counts = [sum(column) for column in zip(*present, strict=True)]
    assert [optimizer.state[p]["step"] if p in optimizer.state else 0 for p in together] == counts


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adagrad", "adamw"])
def test_missing_gradients_are_torchs(name: str) -> None:
    mine, theirs = leaves(), leaves()
    options: dict[str, Any] = {"sgd": {"momentum": 0.9, "dampening": 0.5}, "rmsprop": {"alpha": 0.9}}.get(
        name, {}
    )
    pair = build(name, mine, **options), twin(name, theirs, lr=0.01, **options)
    for step in range(8):
        present = [(step + place) % (place + 1) == 0 for place in range(len(SHAPES))]
        for optimizer, params in zip(pair, (mine, theirs), strict=True):
            advance(optimizer, params, step, present)
    for p, q in zip(mine, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["nesterov", "schedule_free_sgd", "schedule_free_adamw"])
def test_a_parameter_without_gradient_keeps_its_iterate_when_momentum_changes(name: str) -> None:
    waiting, moving = leaves(0, [(5,), (5,)])
    optimizer = build(name, [waiting, moving])
    for step in range(3):
        advance(optimizer, [waiting, moving], step)
    optimizer.eval()
    iterate = waiting.detach().clone()
    optimizer.train()
    key = "betas" if "betas" in optimizer.defaults else "momentum"
    optimizer.param_groups[0][key] = (0.5, 0.999) if key == "betas" else 0.5
    advance(optimizer, [waiting, moving], 3, [False, True])
    optimizer.eval()
    # Some digits of 16 are lost in going to the evaluation point and back.
    torch.testing.assert_close(waiting.detach(), iterate, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_hooks_run_around_every_step(name: str) -> None:
    params = leaves()
    optimizer = build(name, params)
    calls: list[str] = []
    before = params[0].detach().clone()
    optimizer.register_step_pre_hook(lambda o, a, k: calls.append(f"pre {torch.equal(params[0], before)}"))
    optimizer.register_step_post_hook(lambda o, a, k: calls.append(f"post {torch.equal(params[0], before)}"))
    advance(optimizer, params, 0)
    assert calls == ["pre True", "post False"]


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_is_called_once_with_gradients_on(name: str) -> None:
    direct, closed = leaves(), leaves()
    optimizer, other = build(name, closed), build(name, direct)
    calls: list[bool] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        calls.append(torch.is_grad_enabled())
        loss = torch.stack([(p**2).sum() for p in closed]).sum()
        loss.backward()
        return loss

    for p in direct:
        p.grad = 2 * p.detach()
    expected = torch.stack([(p**2).sum() for p in direct]).sum()
    with torch.no_grad():
        assert optimizer.step(closure) == expected
    other.step()
    assert calls == [True]
    assert equal(direct, closed)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("name", NAMES)
def test_maximizing_is_minimizing_the_negative(name: str) -> None:
    up, down = leaves(), leaves()
    climber, other = build(name, up, maximize=True, weight_decay=0.1), build(name, down, weight_decay=0.1)
    for step in range(4):
        advance(climber, up, step)
        for p, q in zip(up, down, strict=True):
            q.grad = None if p.grad is None else -p.grad
        other.step()
    assert equal(up, down)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_may_be_a_tensor(name: str) -> None:
    a, b = leaves(), leaves()
    rate = RATES.get(name, 0.01)
    with_tensor, with_number = (
        build(name, a, lr=torch.tensor(rate, dtype=torch.float64)),
        build(name, b, lr=rate),
    )
    for step in range(4):
        with_tensor.param_groups[0]["lr"].mul_(0.5)
        with_number.param_groups[0]["lr"] *= 0.5
        advance(with_tensor, a, step)
        advance(with_number, b, step)
    assert equal(a, b)


def scheduled(optimizer: Any, scheduler: Any, params: list[Tensor], steps: int) -> list[dict[str, Any]]:
    """Take steps under a scheduler; the options each had."""
    seen = []
    for step in range(steps):
        seen.append({key: optimizer.param_groups[0].get(key) for key in ("lr", "momentum", "betas")})
        advance(optimizer, params, step)
        scheduler.step()
    return seen


SCHEDULES = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=8, eta_min=1e-4),
    "lambda": lambda o: LambdaLR(o, lambda t: 1 / (1 + t)),
    "one cycle": lambda o: OneCycleLR(
        o, max_lr=0.02, total_steps=10, cycle_momentum="betas" in o.defaults or "momentum" in o.defaults
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", NAMES)
def test_schedulers_act_as_if_options_were_set_by_hand(name: str, schedule: str) -> None:
    params, by_hand = leaves(), leaves()
    optimizer, other = build(name, params), build(name, by_hand)
    seen = scheduled(optimizer, SCHEDULES[schedule](optimizer), params, 8)
    assert len({float(options["lr"]) for options in seen}) > 4
    cycled = "betas" if "betas" in other.defaults else "momentum"
    if schedule == "one cycle" and cycled in other.defaults:
        assert len({options[cycled] for options in seen}) > 4
    for step, options in enumerate(seen):
        other.param_groups[0].update({key: value for key, value in options.items() if value is not None})
        advance(other, by_hand, step)
    assert equal(params, by_hand)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_schedulers_give_torchs_path(name: str, schedule: str) -> None:
    options: dict[str, Any] = {"sgd": {"momentum": 0.9}, "rmsprop": {"alpha": 0.9}}.get(name, {})
    mine, theirs = leaves(), leaves()
    for optimizer, params in (
        (build(name, mine, **options), mine),
        (twin(name, theirs, lr=0.01, **options), theirs),
    ):
        scheduled(optimizer, SCHEDULES[schedule](optimizer), params, 8)
    for p, q in zip(mine, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_scaler_skips_the_step_that_overflowed(name: str) -> None:
    scaled, plain = leaves(dtype=torch.float32), leaves(dtype=torch.float32)
    optimizer, other = build(name, scaled), build(name, plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for step in range(6):
        optimizer.zero_grad()
        other.zero_grad()
        # A loss whose gradient overflows at the third step.
        factor = float("inf") if step == 2 else 1.0
        scaler.scale(torch.stack([(factor * p**2).sum() for p in scaled]).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if step != 2:
            torch.stack([(p**2).sum() for p in plain]).sum().backward()
            other.step()
    # Scales are powers of two, so nothing is rounded by them.
    assert equal(scaled, plain)
    assert scaler.get_scale() == 16.0


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_replaced_between_steps_are_used(name: str) -> None:
    replaced, copied = leaves(), leaves()
    pair = build(name, replaced), build(name, copied)
    for step in range(5):
        for optimizer, params in zip(pair, (replaced, copied), strict=True):
            advance(optimizer, params, step)
        if step == 2:
            for p, q, new in zip(replaced, copied, tensors(7), strict=True):
                p.data = new.clone()
                q.data.copy_(new)
    assert equal(replaced, copied)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("how", ["in place", "replaced"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("gradient_descent", "sgd")])
def test_state_that_is_edited_between_steps_is_used(name: str, how: str) -> None:
    edited, loaded = leaves(), leaves()
    optimizer, other = build(name, edited), build(name, loaded)
    for step in range(3):
        advance(optimizer, edited, step)
        advance(other, loaded, step)
    for entry in optimizer.state.values():
        for key in optimizer.rule.kept(optimizer.param_groups[0]):
            if how == "in place":
                entry[key].mul_(0.5)
            else:
                entry[key] = entry[key] * 0.5
    saved = other.state_dict()
    for entry in saved["state"].values():
        for key, value in entry.items():
            if key not in ("step", "mixing"):
                value.mul_(0.5)
    other.load_state_dict(saved)
    for step in range(3, 6):
        advance(optimizer, edited, step)
        advance(other, loaded, step)
    assert equal(edited, loaded)


@pytest.mark.parametrize("how", ["clear", "of one parameter", "a new mapping"])
@pytest.mark.usefixtures("layout")
def test_state_that_is_thrown_away_starts_anew(how: str) -> None:
    shapes = [(8, 5)]
    params, restarted = leaves(shapes=shapes), leaves(shapes=shapes)
    optimizer = build("adam", params)
    for step in range(3):
        advance(optimizer, params, step)
    restarted[0].data.copy_(params[0].data)
    if how == "clear":
        optimizer.state.clear()
    elif how == "of one parameter":
        optimizer.state[params[0]] = {}
    else:
        optimizer.state = type(optimizer.state)(dict)
    advance(optimizer, params, 3)
    advance(build("adam", restarted), restarted, 3)
    assert equal(params, restarted)


@pytest.mark.usefixtures("layout")
def test_a_step_count_that_is_edited_is_used() -> None:
    edited, loaded = leaves(), leaves()
    optimizer, other = build("adam", edited), build("adam", loaded)
    for step in range(3):
        advance(optimizer, edited, step)
        advance(other, loaded, step)
    saved = other.state_dict()
    for entry in (*optimizer.state.values(), *saved["state"].values()):
        entry["step"] = 100
    other.load_state_dict(saved)
    advance(optimizer, edited, 3)
    advance(other, loaded, 3)
    assert equal(edited, loaded)


def test_two_optimizers_may_share_parameters() -> None:
    shared, first, second = leaves(), leaves(), leaves()
    a, b = build("sgd", shared, momentum=0.9), build("adam", shared)
    alone = build("sgd", first, momentum=0.9), build("adam", second)
    for step in range(4):
        advance(a, shared, step)
        advance(b, shared, step + 50)
        advance(alone[0], first, step)
        for p, q in zip(first, second, strict=True):
            q.data.copy_(p.data)
        advance(alone[1], second, step + 50)
        for p, q in zip(first, second, strict=True):
            p.data.copy_(q.data)
    assert equal(shared, first)


def test_a_weight_that_two_layers_share_moves_once() -> None:
    torch.manual_seed(0)
    models = []
    for maker in (build, twin):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
        model[2].weight = model[0].weight
        optimizer = maker("adamw", model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 4, dtype=torch.float64)).pow(2).sum().backward()
            optimizer.step()
        models.append(model)
    assert len(list(models[0].parameters())) == 3
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


def test_classes_are_found_by_name() -> None:
    assert ours.get("adamw") is ours.AdamW
    assert set(NAMES) >= {
        "gradient_descent",
        "momentum",
        "nesterov",
        "sgd",
        "adagrad",
        "rmsprop",
        "adam",
        "adamw",
    }
    assert set(NAMES) >= {"lion", "schedule_free_sgd", "schedule_free_adamw"}
