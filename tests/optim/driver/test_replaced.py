"""What is prepared for the next step is dropped when the user puts other memory or other state in its place."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import thalweg as tw

SHAPES = [(300, 300), (7,)]  # One tensor that is stepped by itself, one that is packed.


def other_memory(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
    for p in params:
        p.data = 2 * p.data.clone()


def other_order(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
    params[0].data = params[0].data.t().clone().t()


def other_entry(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for p in params:
        optimizer.state[p]["exp_avg"] = torch.ones_like(p)


def other_entries(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for p in params:
        optimizer.state[p] = {name: value + 1 for name, value in optimizer.state[p].items()}


def no_state(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    optimizer.state.clear()


def one_waits(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
    params[0].grad = None


@pytest.mark.parametrize(
    "replace", [other_memory, other_order, other_entry, other_entries, no_state, one_waits]
)
def test_a_step_after_a_replacement_equals_torchs(
    replace: Callable[[list[nn.Parameter], torch.optim.Optimizer], None],
) -> None:
    made = []
    for kind in (tw.optim.AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        params = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]
        optimizer = kind(params, lr=1e-2, weight_decay=0.1)
        for step in range(6):
            for p in params:
                p.grad = torch.randn_like(p)
            if step == 3:
                replace(params, optimizer)
            optimizer.step()
        made.append(params)
    for mine, reference in zip(*made, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
