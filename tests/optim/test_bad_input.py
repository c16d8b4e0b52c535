"""What an optimizer is told that it cannot use is refused in one line that names it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.optim.training import NAMES, build
from torch import Tensor

import thalweg.optim as ours
from thalweg.errors import InvalidArgument, UnknownName

NAN, INF = math.nan, math.inf
NEGATIVE = [-1.0, -1e-9, NAN, INF, "fast", None]
SHARE = [-0.1, 1.0, 1.5, NAN, "most", None]


def vector() -> Tensor:
    return torch.ones(3, dtype=torch.float64, requires_grad=True)


def bad_values() -> list[tuple[str, str, Any]]:
    """(rule, option, value) of everything that is out of its range."""
    rows: list[tuple[str, str, Any]] = []
    for name in NAMES:
        options = ours.get(name)([vector()]).defaults
        rows += [(name, "lr", value) for value in (*NEGATIVE, torch.tensor([0.1, 0.1]), torch.tensor(-1.0))]
        for option in ("eps", "weight_decay", "lr_decay", "initial_accumulator_value", "warmup_steps", "r"):
            if option in options:
                rows += [(name, option, value) for value in NEGATIVE]
        if "weight_lr_power" in options:
            rows += [(name, "weight_lr_power", value) for value in NEGATIVE]
        if "betas" in options:
            rows += [(name, "betas", pair) for share in SHARE for pair in ((share, 0.9), (0.9, share))]
            rows += [(name, "betas", value) for value in (0.9, (0.9,), (0.9, 0.9, 0.9), None)]
        if "alpha" in options:
            rows += [(name, "alpha", value) for value in SHARE]
        if "momentum" in options:
            # Torch's forms take any momentum from 0 on.
            rows += [
                (name, "momentum", value) for value in (NEGATIVE if name in ("sgd", "rmsprop") else SHARE)
            ]
    return rows


BAD = bad_values()


@pytest.mark.parametrize("name", NAMES)
def test_bad_values_are_refused(name: str) -> None:
    for _, option, value in (row for row in BAD if row[0] == name):
        with pytest.raises(InvalidArgument, match=option) as caught:
            build(name, [vector()], **{option: value})
        message = str(caught.value)
        assert "\n" not in message
        assert isinstance(value, (tuple, Tensor)) or str(value) in message, message


@pytest.mark.parametrize("name", NAMES)
def test_bad_values_of_an_added_group_are_refused(name: str) -> None:
    optimizer = build(name, [vector()])
    for _, option, value in (row for row in BAD if row[0] == name):
        with pytest.raises(InvalidArgument, match=option):
            optimizer.add_param_group({"params": [vector()], option: value})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(InvalidArgument, match="lr"):
        build(name, [{"params": [vector()]}, {"params": [vector()], "lr": -1.0}])


@pytest.mark.parametrize("value", [NAN, INF, "some"])
def test_bad_dampening_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="dampening"):
        build("sgd", [vector()], momentum=0.9, dampening=value)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_needs_momentum_without_dampening(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="nesterov=True needs momentum above 0 and no dampening"):
        build("sgd", [vector()], nesterov=True, **options)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_cannot_average_with_weight_zero(name: str) -> None:
    option = {"betas": (0.0, 0.9)} if name.endswith("adamw") else {"momentum": 0.0}
    with pytest.raises(InvalidArgument, match=r"must be in \(0, 1\), got 0"):
        build(name, [vector()], **option)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_are_named_beside_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"takes lr, .*maximize.*; got learning_rate, speed") as caught:
        build(name, [vector()], speed=1, learning_rate=2)
    assert type(build(name, [vector()])).__name__ in str(caught.value)


@pytest.mark.parametrize("option", ["capturable", "differentiable"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_supported_is_refused(name: str, option: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} must be False"):
        build(name, [vector()], **{option: True})
    build(name, [vector()], **{option: False})


@pytest.mark.parametrize("name", NAMES)
def test_torchs_choice_of_implementation_has_no_effect(name: str) -> None:
    p, q = vector(), vector()
    for parameter, options in ((p, {"foreach": True, "fused": False}), (q, {"foreach": None, "fused": True})):
        parameter.grad = torch.ones_like(parameter)
        build(name, [parameter], **options).step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_must_be_there(name: str) -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        build(name, [])
    with pytest.raises(ValueError, match="non-leaf"):
        build(name, [vector() * 2])
    with pytest.raises(TypeError, match="iterable"):
        build(name, vector())
    p = vector()
    with pytest.raises(ValueError, match="more than one parameter group"):
        build(name, [{"params": [p]}, {"params": [p]}])


def test_an_empty_group_is_allowed() -> None:
    p = vector()
    optimizer = build("adam", [{"params": []}, {"params": [p]}])
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert (p < 1).all()


def test_a_group_must_be_a_dictionary() -> None:
    with pytest.raises(TypeError, match="param_group must be a dict"):
        build("adam", [vector()]).add_param_group([vector()])


def test_unknown_names_are_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownName, match="unknown optimizer 'adamv': did you mean adam or adamw"):
        ours.get("adamv")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_not_finite_is_named(name: str, value: float) -> None:
    good, bad = vector(), vector()
    optimizer = build(name, [{"params": [good]}, {"params": [vector(), bad]}], nonfinite="raise")
    good.grad, bad.grad = torch.ones_like(good), torch.tensor([0.0, value, 0.0], dtype=torch.float64)
    with pytest.raises(
        FloatingPointError, match=r"parameter 1 of group 1, shape \(3,\) is not finite: clip it"
    ):
        optimizer.step()
    assert torch.equal(good, vector())
    assert not optimizer.state
    named = build(name, [("first", good), ("layer.bias", bad)], nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"parameter layer.bias is not finite"):
        named.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_with_such_a_gradient_may_be_skipped_whole(name: str) -> None:
    good, bad = vector(), vector()
    optimizer = build(name, [good, bad], nonfinite="skip")
    good.grad, bad.grad = torch.ones_like(good), torch.full_like(bad, NAN)
    assert optimizer.step(lambda: 2.0) == 2.0
    assert torch.equal(good, bad)
    assert not optimizer.state
    bad.grad = torch.ones_like(bad)
    optimizer.step()
    assert optimizer.state[good]["step"] == 1
    assert not torch.equal(good, vector())
    assert torch.equal(good, bad)


def test_by_default_it_is_passed_on_as_torch_does() -> None:
    p = vector()
    p.grad = torch.tensor([0.0, NAN, 1.0], dtype=torch.float64)
    build("adam", [p]).step()
    assert p.isnan().tolist() == [False, True, False]


def test_sparse_gradients_are_looked_at_too() -> None:
    p = torch.ones(4, 2, requires_grad=True)
    p.grad = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.tensor([[NAN, 1.0]]), (4, 2), check_invariants=True
    )
    with pytest.raises(FloatingPointError):
        build("sgd", [p], nonfinite="raise").step()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"nonfinite must be .*got 'stop'"):
        build("adam", [vector()], nonfinite="stop")
