"""A run that is saved, copied or handed over in the middle goes on as the unbroken one."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.optim.training import (
    FORMS,
    NAMES,
    TWINS,
    build,
    form_id,
    fresh,
    held,
    point,
    train,
    twin,
    update_alone,
)

BEFORE, AFTER = 20, 20


@pytest.fixture(params=["packed", "mixed"], autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four parameters (24, 6, 18, 3 elements) packed; or the matrices alone, in blocks, and the biases packed."""
    if request.param == "mixed":
        update_alone(monkeypatch, 10, 7)


def continue_with(optimizer: Any, make: Callable[[list[Any]], Any], saved: dict[str, Any]) -> Any:
    """Another optimizer, of copies of the parameters, that loads what was saved."""
    params = [p.detach().clone().requires_grad_() for p in held(optimizer)]
    other = make(params)
    other.load_state_dict(saved)
    return other


def through_a_file(saved: Any) -> Any:
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# Options whose loss would change the continued run: what is not saved shows.
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    "adagrad": {"lr_decay": 0.01, "initial_accumulator_value": 0.1},
    "rmsprop": {"lr": 0.002, "momentum": 0.5, "centered": True, "eps": 1e-4},
    "adam": {"amsgrad": True, "weight_decay": 0.01},
    "schedule_free_sgd": {"warmup_steps": 30, "r": 1.0, "weight_decay": 0.01},
    "schedule_free_adamw": {"warmup_steps": 30, "weight_decay": 0.01},
}


@pytest.mark.parametrize("file", [False, True], ids=["at once", "through a file"])
@pytest.mark.parametrize("name", NAMES)
def test_ours_to_ours(name: str, file: bool) -> None:
    first = build(name, fresh(), **OPTIONS.get(name, {}))
    train(first, BEFORE)
    saved = first.state_dict()
    # Built with other options: all that matters comes from the state dictionary.
    second = continue_with(first, lambda p: build(name, p, lr=0.5), through_a_file(saved) if file else saved)
    train(first, AFTER, BEFORE)
    train(second, AFTER, BEFORE)
    assert torch.equal(point(first), point(second))
    states = [optimizer.state_dict()["state"] for optimizer in (first, second)]
    assert repr([sorted(s.items()) for s in states[0].values()]) == repr(
        [sorted(s.items()) for s in states[1].values()]
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_is_not_changed_by_later_steps(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 3)
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    train(optimizer, 3, 3)
    assert repr(saved) == repr(kept)


@pytest.mark.parametrize("layout", ["mixed"], indirect=True)
@pytest.mark.parametrize(
    "name",
    NAMES,
)
def test_what_was_loaded_is_not_changed_by_later_steps(name: str) -> None:
    optimizer = build(name, fresh())
    train(optimizer, 3)
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    train(optimizer, 3, 3)
    assert repr(saved) == repr(kept)


@pytest.mark.parametrize("name", NAMES)
def test_loading_into_the_same_optimizer_goes_back(name: str) -> None:
    optimizer = build(name, fresh(), **OPTIONS.get(name, {}))
    train(optimizer, BEFORE)
    saved, points = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in held(optimizer)]
    train(optimizer, AFTER, BEFORE)
    end = point(optimizer)
    optimizer.load_state_dict(saved)
    with torch.no_grad():
        for p, value in zip(held(optimizer), points, strict=True):
            p.copy_(value)
    train(optimizer, AFTER, BEFORE)
    assert torch.equal(point(optimizer), end)


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_goes_on_alone(name: str, copier: Callable[[Any], Any]) -> None:
    first = build(name, fresh(), **OPTIONS.get(name, {}))
    train(first, BEFORE)
    second = copier(first)
    assert not {id(p) for p in held(first)} & {id(p) for p in held(second)}
    train(first, AFTER, BEFORE)
    end = point(first)
    train(second, AFTER, BEFORE)
    assert torch.equal(point(second), end)
    assert torch.equal(point(first), end)


@pytest.mark.parametrize("form", [form for form in FORMS if form[0] != "gradient_descent"], ids=form_id)
def test_ours_to_torchs_and_back(form: tuple[str, dict[str, Any]]) -> None:
    name, options = form
    unbroken = build(name, fresh(), **options)
    train(unbroken, BEFORE)
    saved = through_a_file(unbroken.state_dict())
    theirs = continue_with(unbroken, lambda p: TWINS[name](p), saved)
    train(theirs, AFTER, BEFORE)
    back = continue_with(theirs, lambda p: build(name, p), through_a_file(theirs.state_dict()))
    train(back, AFTER, BEFORE + AFTER)
    train(unbroken, 2 * AFTER, BEFORE)
    # 40 steps, each rounded in another order at 1e-16.
    torch.testing.assert_close(point(back), point(unbroken), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_torchs_to_ours(form: tuple[str, dict[str, Any]]) -> None:
    name, options = form
    unbroken = twin(name, fresh(), **options)
    train(unbroken, BEFORE)
    mine = continue_with(unbroken, lambda p: build(name, p), through_a_file(unbroken.state_dict()))
    train(unbroken, AFTER, BEFORE)
    train(mine, AFTER, BEFORE)
    torch.testing.assert_close(point(mine), point(unbroken), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_torchs_fused_state_is_taken_over(name: str) -> None:
    fused = {} if name == "rmsprop" else {"fused": True}
    theirs = TWINS[name](fresh(), lr=0.01, **fused)
    train(theirs, 2)
    mine = continue_with(theirs, lambda p: build(name, p), copy.deepcopy(theirs.state_dict()))
    train(mine, 2, 2)
    train(theirs, 2, 2)
    torch.testing.assert_close(point(mine), point(theirs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_torchs_state_before_the_first_step(name: str) -> None:
    # torch's Adagrad has its state from the start, at step 0.
    theirs = twin(name, fresh(), lr=0.05)
    mine = continue_with(theirs, lambda p: build(name, p), copy.deepcopy(theirs.state_dict()))
    train(theirs, 5)
    train(mine, 5)
    torch.testing.assert_close(point(mine), point(theirs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_before_the_first_step(name: str) -> None:
    first = build(name, fresh())
    second = continue_with(first, lambda p: build(name, p, lr=0.5), first.state_dict())
    train(first, 5)
    train(second, 5)
    assert torch.equal(point(first), point(second))


def test_step_counts_of_parameters_are_kept_apart() -> None:
    first = build("adam", fresh())
    train(first, 3)
    w1, *others = held(first)
    w1.grad = None
    for p in others:
        p.grad = torch.ones_like(p)
    first.step()
    second = continue_with(first, lambda p: build("adam", p), first.state_dict())
    steps = [float(entry["step"]) for entry in second.state_dict()["state"].values()]
    assert steps == [3, 4, 4, 4]
    train(first, AFTER, BEFORE)
    train(second, AFTER, BEFORE)
    assert torch.equal(point(first), point(second))


@pytest.mark.parametrize("name", NAMES)
def test_state_tensors_are_saved_without_the_buffers_they_lie_in(name: str) -> None:
    optimizer = build(name, fresh(), **OPTIONS.get(name, {}))
    train(optimizer, 2)
    for entry in optimizer.state_dict()["state"].values():
        for value in entry.values():
            if isinstance(value, torch.Tensor):
                assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


def test_groups_with_their_options_are_saved() -> None:
    w1, b1, w2, b2 = fresh()
    groups = [{"params": [w1, b1], "lr": 0.02}, {"params": [w2, b2], "betas": (0.5, 0.9), "maximize": True}]
    first = build("adam", groups)
    train(first, BEFORE)
    copies = [p.detach().clone().requires_grad_() for p in held(first)]
    second = build("adam", [{"params": copies[:2]}, {"params": copies[2:]}])
    second.load_state_dict(first.state_dict())
    assert second.param_groups[1]["betas"] == (0.5, 0.9)
    train(first, AFTER, BEFORE)
    train(second, AFTER, BEFORE)
    assert torch.equal(point(first), point(second))


def test_groups_that_do_not_fit_are_refused() -> None:
    first = build("adam", fresh())
    train(first, 2)
    w1, b1, *_ = fresh()
    with pytest.raises(ValueError, match="doesn't match the size"):
        build("adam", [w1, b1]).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="different number of parameter groups"):
        build("adam", [{"params": [w1]}, {"params": [b1]}]).load_state_dict(first.state_dict())
