from __future__ import annotations

import pytest
import torch

from thalweg.cli.start_up import optimizers_without_compiler

METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def test_optimizers_work_without_the_compiler_and_are_as_before_afterwards() -> None:
    before = [getattr(torch.optim.Optimizer, name) for name in METHODS]
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    with optimizers_without_compiler():
        optimizer = torch.optim.SGD([parameter], lr=0.5)
        parameter.square().sum().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
    # 1 − 0.5 · 2.
    assert (parameter.item(), parameter.grad) == (0.0, None)
    assert [getattr(torch.optim.Optimizer, name) for name in METHODS] == before


def test_they_are_as_before_after_an_error_too() -> None:
    before = [getattr(torch.optim.Optimizer, name) for name in METHODS]
    with pytest.raises(KeyError), optimizers_without_compiler():
        raise KeyError
    assert [getattr(torch.optim.Optimizer, name) for name in METHODS] == before
