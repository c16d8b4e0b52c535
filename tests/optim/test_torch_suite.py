"""What PyTorch checks of its own optimizers, checked of ours of the same name.

The configurations, schedulers and erroneous arguments are those of `torch.testing._internal.common_optimizers`; each
test says again, in a few lines, what the test of that name in PyTorch's test_optim.py checks.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.optim.torch_suite import SKIPS, Suite, affine, closure_of, drive, same, states_match
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from thalweg.errors import InvalidArgument


@pytest.mark.parametrize(("what", "why"), [row for row in SKIPS.items() if not row[0].startswith("error")])
def test_not_restated(what: str, why: str) -> None:
    pytest.skip(f"{what}: {why}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_the_loop_over_tensors(suite: Suite, dtype: torch.dtype) -> None:
    for options in suite.options():
        models = []
        for _ in range(2):
            torch.manual_seed(2)
            models.append(
                nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3), nn.Sigmoid()).to(dtype)
            )
        mine, theirs = suite.pair(models[0].parameters(), models[1].parameters(), options)
        x = torch.linspace(-1, 1, 8, dtype=dtype).view(2, 4)
        for step in range(7):
            for model, optimizer in zip(models, (mine, theirs), strict=True):
                optimizer.zero_grad()
                model(x).sum().backward()
                if step == 3:
                    # As torch does: a parameter without gradient once, and one whose gradient is zero.
                    model[0].bias.grad = None
                    model[2].weight.grad.zero_()
                optimizer.step()
            same(list(models[0].parameters()), list(models[1].parameters()))
        # A gradient through two nearly saturated sigmoids is known to some 1e-5 of itself in single precision, and so
        # is what RMSProp divides to order one and sums up.
        states_match(mine, theirs, **({"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}))


@pytest.mark.parametrize("contiguous", [True, False])
def test_forloop_goes_right_direction(suite: Suite, contiguous: bool) -> None:
    for options in suite.options():
        for makers in [[], *suite.info.scheduler_inputs]:
            weight, bias, x = affine(contiguous=contiguous)
            optimizer = suite.cls([weight, bias], **copy.deepcopy(options))
            schedulers = [make(optimizer) for make in makers]
            closure = closure_of(optimizer, weight, bias, x)
            before = closure().item()
            drive(optimizer, schedulers, closure, 20)
            after = closure().item()
            assert after > before if options.get("maximize") else after < before


def test_param_group_with_lrscheduler_goes_right_direction(suite: Suite) -> None:
    for makers in suite.info.scheduler_inputs:
        weight, bias, x = affine()
        optimizer = suite.cls([{"params": [weight]}, {"params": [bias], "lr": 0.01}])
        schedulers = [make(optimizer) for make in makers]
        closure = closure_of(optimizer, weight, bias, x)
        before = closure().item()
        drive(optimizer, schedulers, closure, 20)
        assert closure().item() < before


def test_schedulers_give_torchs_path(suite: Suite) -> None:
    for makers in suite.info.scheduler_inputs:
        points = []
        for maker in (suite.cls, suite.info.optim_cls):
            weight, bias, x = affine(torch.float64)
            optimizer = maker([weight, bias], lr=0.01, **suite.defaults)
            schedulers = [make(optimizer) for make in makers]
            drive(optimizer, schedulers, closure_of(optimizer, weight, bias, x), 20)
            points.append((weight, bias))
        same(*points, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_tensor_lr(suite: Suite, shape: tuple[int, ...]) -> None:
    for options in suite.options():
        rate = float(options.get("lr", 0.01))
        points = []
        for lr in (torch.full(shape, rate, dtype=torch.float64), rate):
            weight, bias, x = affine(torch.float64)
            optimizer = suite.cls([weight, bias], **options | {"lr": lr})
            schedulers = [StepLR(optimizer, step_size=2, gamma=0.5), CosineAnnealingLR(optimizer, T_max=4)]
            drive(optimizer, schedulers, closure_of(optimizer, weight, bias, x), 4)
            points.append((weight, bias))
            assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) == isinstance(lr, torch.Tensor)
        same(*points, rtol=1e-12, atol=1e-14)


def test_param_groups_weight_decay(suite: Suite) -> None:
    weight, bias, _ = affine()
    optimizer = suite.cls(
        [{"params": [weight]}, {"params": [bias], "weight_decay": 0.4}], lr=1e-4, weight_decay=0
    )
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    before = weight.detach().clone(), bias.detach().clone()
    optimizer.step()
    assert torch.equal(weight, before[0])
    assert (bias.abs() < before[1].abs()).all()


def test_param_groups_lr(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([{"params": [weight], "lr": 0.01}, {"params": [bias]}], lr=0.0)
    before = bias.detach().clone()
    drive(optimizer, [], closure_of(optimizer, weight, bias, x), 3)
    assert torch.equal(bias, before)


def test_step_is_noop_when_params_have_no_grad(suite: Suite) -> None:
    for options in suite.options():
        weight, bias, _ = affine()
        before = weight.detach().clone(), bias.detach().clone()
        optimizer = suite.cls([weight, bias], **options)
        optimizer.step()
        assert torch.equal(weight, before[0])
        assert torch.equal(bias, before[1])


def test_step_is_noop_for_zero_grads(suite: Suite) -> None:
    for options in suite.options():
        weight, _, _ = affine()
        before = weight.detach().clone()
        optimizer = suite.cls([weight], **options | {"weight_decay": 0.0})
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        assert torch.equal(weight, before)


def test_no_grad(suite: Suite) -> None:
    weight, bias, x = affine()
    bias.requires_grad_(False)
    before = bias.detach().clone()
    optimizer = suite.cls([weight, bias])
    drive(optimizer, [], closure_of(optimizer, weight, bias, x), 2)
    assert torch.equal(bias, before)
    assert bias not in optimizer.state


@pytest.mark.parametrize("set_to_none", [True, False])
def test_grads_are_cleared(suite: Suite, set_to_none: bool) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias])
    closure_of(optimizer, weight, bias, x)()
    optimizer.zero_grad(set_to_none=set_to_none)
    if set_to_none:
        assert weight.grad is None
    else:
        assert weight.grad is not None
        assert not weight.grad.any()
    optimizer.step()


def test_closure_gives_the_loss_and_runs_with_gradients_on(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias])
    assert optimizer.step() is None
    closure = closure_of(optimizer, weight, bias, x)
    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.requires_grad
    assert optimizer.step(closure=closure) < loss
    assert optimizer.step(lambda: 3.5) == 3.5


def test_optimizer_can_be_printed(suite: Suite) -> None:
    for options in suite.options():
        text = repr(suite.cls(affine()[:2], **options))
        assert "Parameter Group 0" in text
        assert "weight_decay" in text


def test_non_empty_state(suite: Suite) -> None:
    for options in suite.options():
        weight, bias, x = affine()
        optimizer = suite.cls([weight, bias], **options)
        optimizer.step(closure_of(optimizer, weight, bias, x))
        assert all(len(held) > 0 for held in optimizer.state.values())


def test_step_hooks(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias], lr=0.01)
    calls: list[Any] = []
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("post")),
        register_optimizer_step_pre_hook(lambda o, args, kwargs: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: calls.append("global post")),
    ]
    closure = closure_of(optimizer, weight, bias, x)
    optimizer.step(closure)
    assert calls == ["global pre", "pre", "post", "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step(closure)
    assert len(calls) == 4


def test_step_pre_hook_may_change_the_arguments(suite: Suite) -> None:
    weight, bias, x = affine()
    optimizer = suite.cls([weight, bias])
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), {}))
    assert optimizer.step(closure_of(optimizer, weight, bias, x)) == 7.0


def test_sparse_gradients_give_the_dense_path(suite: Suite) -> None:
    if not suite.info.supports_sparse:
        pytest.skip("torch's does not take sparse gradients either; the error is tested in test_contract.py")
    options, makers = suite.info.metadata_for_sparse
    for chosen in ([], makers):
        for maximize in (False, True):
            points = []
            for sparse in (True, False):
                p = nn.Parameter(torch.tensor([1.5, 1.5], dtype=torch.float64))
                optimizer = suite.cls([p], **options | {"maximize": maximize, "lr": 1e-4})
                schedulers = [make(optimizer) for make in chosen]
                for step in range(12):
                    x, y = p.detach()
                    slope = (-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2))[step % 2]
                    # Not coalesced: the entry comes in two parts.
                    place = torch.tensor([[step % 2, step % 2]])
                    g = torch.sparse_coo_tensor(
                        place, torch.stack([slope / 4, slope - slope / 4]), (2,), check_invariants=True
                    )
                    p.grad = g if sparse else g.to_dense()
                    optimizer.step()
                    for scheduler in schedulers:
                        loss = (1 - x) ** 2 + 100 * (y - x**2) ** 2
                        scheduler.step(*([loss] if isinstance(scheduler, ReduceLROnPlateau) else []))
                points.append(p)
            same(*points, rtol=1e-12, atol=0)


def test_capturable_is_refused(suite: Suite) -> None:
    for options in suite.options(device="cuda"):
        if options.get("capturable"):
            with pytest.raises(InvalidArgument, match="capturable"):
                suite.cls(affine()[:2], **options)


def test_errors(suite: Suite, database: dict[str, Any]) -> None:
    refused = 0
    for error in suite.info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        given = error.optimizer_error_input
        if f"error: {given.desc}" in SKIPS or error.error_on == database["step_error"]:
            continue
        params = given.params if given.params is not None else affine()[:2]
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                suite.cls(params, **given.kwargs)
            continue
        with pytest.raises(error.error_type) as caught:
            suite.cls(params, **given.kwargs)
        refused += 1
        if isinstance(caught.value, InvalidArgument):
            # Ours are one line that names the argument; torch's wording is not owed.
            assert any(key in str(caught.value) for key in given.kwargs), str(caught.value)
        else:
            caught.match(error.error_regex)
    assert refused >= 6
