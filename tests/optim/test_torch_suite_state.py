"""What PyTorch checks of its own optimizers' state dictionaries and copies, checked of ours of the same name."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from tests.optim.torch_suite import Suite, affine, closure_of, contents, drive, same
from torch import nn


def test_loading_and_copying_add_no_key_to_the_groups(suite: Suite) -> None:
    weight, bias, _ = affine()
    optimizer = suite.cls([weight, bias])
    before = optimizer.param_groups[0].keys()
    assert copy.deepcopy(optimizer).param_groups[0].keys() == before
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0].keys() == before


@pytest.mark.parametrize("named", [(False, False), (True, True), (True, False)])
def test_state_dict_deterministic(suite: Suite, named: tuple[bool, bool]) -> None:
    for options in suite.options():
        weight, bias, x = affine()
        params = [("weight", weight), ("bias", bias)] if named[0] else [weight, bias]
        optimizer = suite.cls(params, **options)
        closure = closure_of(optimizer, weight, bias, x)
        drive(optimizer, [], closure, 5)
        weight_c, bias_c = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
        optimizer_c = suite.cls(
            [("w", weight_c), ("b", bias_c)] if named[1] else [weight_c, bias_c], **options
        )
        saved = optimizer.state_dict()
        kept = copy.deepcopy(saved)
        optimizer_c.load_state_dict(saved)
        assert repr(saved) == repr(kept)
        drive(optimizer, [], closure, 5)
        drive(optimizer_c, [], closure_of(optimizer_c, weight_c, bias_c, x), 5)
        assert torch.equal(weight, weight_c)
        assert torch.equal(bias, bias_c)
        assert repr(saved) == repr(kept), "steps after saving must not reach what was saved"
        if named[0] == named[1]:
            assert contents(optimizer.state_dict()) == contents(optimizer_c.state_dict())
        names = optimizer_c.state_dict()["param_groups"][0].get("param_names")
        assert names == (["weight", "bias"] if named[0] else None)


def test_can_load_from_to_named_state_dict(suite: Suite) -> None:
    weight, bias, x = affine()
    plain, named = suite.cls([weight, bias]), suite.cls([("weight", weight), ("bias", bias)])
    drive(plain, [], closure_of(plain, weight, bias, x), 3)
    named.load_state_dict(plain.state_dict())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    seen: list[Any] = []
    named.register_load_state_dict_pre_hook(
        lambda optimizer, state: seen.append(state["param_groups"][0].keys())
    )
    named.load_state_dict(named.state_dict())
    assert "param_names" in seen[0]


def test_can_load_older_state_dict(suite: Suite) -> None:
    for options in suite.options():
        weight, bias, x = affine()
        optimizer = suite.cls([weight, bias], **options)
        closure = closure_of(optimizer, weight, bias, x)
        drive(optimizer, [], closure, 3)
        older = copy.deepcopy(optimizer.state_dict())
        for flag in suite.info.not_og_supported_flags:
            for group in older["param_groups"]:
                group.pop(flag, None)
        optimizer.load_state_dict(older)
        assert optimizer.param_groups[0]["maximize"] == options.get("maximize", False)
        optimizer.step(closure)


def test_load_nontensor_step(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias])
    closure = closure_of(optimizer, weight, bias, x)
    drive(optimizer, [], closure, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    for held in saved["state"].values():
        held["step"] = held["step"].item()
    optimizer.load_state_dict(saved)
    drive(optimizer, [], closure, 1)
    assert all(float(held["step"]) == 4 for held in optimizer.state_dict()["state"].values())


def test_save_load_equality_with_weights_only(suite: Suite) -> None:
    for options in suite.options():
        weight, bias, x = affine()
        optimizer = suite.cls([weight, bias], **options)
        drive(optimizer, [], closure_of(optimizer, weight, bias, x), 3)
        saved = optimizer.state_dict()
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        assert repr(torch.load(file, weights_only=True)) == repr(saved)


def test_load_into_parameters_of_another_dtype(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias])
    drive(optimizer, [], closure_of(optimizer, weight, bias, x), 3)
    double = [nn.Parameter(p.detach().double()) for p in (weight, bias)]
    optimizer_c = suite.cls(double)
    optimizer_c.load_state_dict(optimizer.state_dict())
    drive(optimizer, [], closure_of(optimizer, weight, bias, x), 3)
    drive(optimizer_c, [], closure_of(optimizer_c, double[0], double[1], x.double()), 3)
    same([p.float() for p in double], [weight, bias])
    assert all(
        value.dtype == torch.float64
        for held in optimizer_c.state.values()
        for key, value in held.items()
        if key != "step"
    )


def test_state_dict_hooks(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias], lr=0.01)
    optimizer.step(closure_of(optimizer, weight, bias, x))
    plain = optimizer.state_dict()
    calls: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("pre"))

    def post(o: Any, state: dict[str, Any]) -> dict[str, Any]:
        calls.append("post")
        assert repr(state) == repr(plain)
        return state | {"extra": 1}

    optimizer.register_state_dict_post_hook(post)
    optimizer.register_state_dict_post_hook(lambda o, state: calls.append("first"), prepend=True)
    assert optimizer.state_dict()["extra"] == 1
    assert calls == ["pre", "first", "post"]


def test_state_dict_post_hook_may_give_another_dictionary(suite: Suite) -> None:
    optimizer = suite.cls(affine()[:2])
    optimizer.register_state_dict_post_hook(lambda o, state: {"all": state})
    assert list(optimizer.state_dict()) == ["all"]


def test_load_state_dict_hooks(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias], lr=0.01)
    drive(optimizer, [], closure_of(optimizer, weight, bias, x), 2)
    saved = optimizer.state_dict()
    calls: list[str] = []

    def halve(o: Any, state: dict[str, Any]) -> dict[str, Any]:
        calls.append("halve")
        groups = copy.deepcopy(state["param_groups"])
        groups[0]["lr"] = 0.005
        return state | {"param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_pre_hook(lambda o, state: calls.append("first"), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append(f"lr {o.param_groups[0]['lr']}"))
    optimizer.load_state_dict(saved)
    assert calls == ["first", "halve", "lr 0.005"]
    assert saved["param_groups"][0]["lr"] == 0.01


def test_deepcopy_copies_all_public_attrs(suite: Suite) -> None:
    for options in suite.options():
        weight, bias, x = affine()
        optimizer = suite.cls([weight, bias], **options, nonfinite="skip", compile=False)
        drive(optimizer, [], closure_of(optimizer, weight, bias, x), 2)
        file = io.BytesIO()
        torch.save(optimizer, file)
        file.seek(0)
        for made in (
            copy.deepcopy(optimizer),
            pickle.loads(pickle.dumps(optimizer)),
            torch.load(file, weights_only=False),
        ):
            public = {key for key in vars(optimizer) if not key.startswith("_")}
            assert public == {key for key in vars(made) if not key.startswith("_")}
            assert (made.nonfinite, made.compile) == ("skip", False)
            assert contents(made.state_dict()) == contents(optimizer.state_dict())
