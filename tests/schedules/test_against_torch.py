"""Our formulas against torch's schedulers, run for as long and longer than they last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as peer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from thalweg import schedules
from thalweg.schedules import Schedule

RATE, RUN = 0.3, 90


def warmed(optimizer: Optimizer) -> LRScheduler:
    rise = peer.LinearLR(optimizer, start_factor=0.25, total_iters=20)
    fall = peer.CosineAnnealingLR(optimizer, T_max=70, eta_min=0.01)
    return peer.SequentialLR(optimizer, [rise, fall], milestones=[20])


PAIRS: dict[str, tuple[Schedule, Callable[[Optimizer], LRScheduler], int]] = {
    "constant": (schedules.constant(RATE), lambda o: peer.ConstantLR(o, factor=1.0), RUN),
    "step": (
        schedules.step(RATE, factor=0.2, every=30),
        lambda o: peer.StepLR(o, step_size=30, gamma=0.2),
        RUN,
    ),
    "milestones": (
        schedules.step(RATE, factor=0.2, milestones=[7, 31, 32]),
        lambda o: peer.MultiStepLR(o, milestones=[7, 31, 32], gamma=0.2),
        RUN,
    ),
    "exponential": (
        schedules.exponential(RATE, factor=0.97),
        lambda o: peer.ExponentialLR(o, gamma=0.97),
        RUN,
    ),
    # Torch's cosine rises again after T_max, ours holds: they are compared up to there.
    "cosine": (
        schedules.cosine(RATE, steps=RUN, final=0.01),
        lambda o: peer.CosineAnnealingLR(o, T_max=RUN, eta_min=0.01),
        RUN,
    ),
    "linear": (
        schedules.linear(RATE, steps=60, final=RATE / 10),
        lambda o: peer.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=60),
        RUN,
    ),
    "polynomial": (
        schedules.polynomial(RATE, steps=60, power=1.7),
        lambda o: peer.PolynomialLR(o, total_iters=60, power=1.7),
        RUN,
    ),
    "warm restarts": (
        schedules.warm_restarts(RATE, period=20, final=0.01),
        lambda o: peer.CosineAnnealingWarmRestarts(o, T_0=20, eta_min=0.01),
        RUN,
    ),
    "growing restarts": (
        schedules.warm_restarts(RATE, period=5, growth=3, final=0.01),
        lambda o: peer.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=3, eta_min=0.01),
        RUN,
    ),
    "warm-up": (
        schedules.warmup(20, then=schedules.cosine(RATE, steps=70, final=0.01), start=RATE / 4),
        warmed,
        RUN,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_rates_are_torchs(name: str) -> None:
    ours, make, last = PAIRS[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make(optimizer)
    theirs: list[float] = []
    for _ in range(last + 1):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # Torch multiplies its way from rate to rate: some roundings of 1.1e-16 at each of 90 steps; its cosine
    # divides by 1 + cos near −1, whose cancellation costs three digits more.
    np.testing.assert_allclose(ours.rates(last + 1), theirs, rtol=0, atol=RATE * 1e-12)


def test_the_closed_forms_of_torch_to_the_last_digits() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    forms: list[tuple[LRScheduler, Schedule]] = [
        (peer.CosineAnnealingLR(optimizer, T_max=RUN, eta_min=0.01), schedules.cosine(RATE, RUN, 0.01)),
        (peer.PolynomialLR(optimizer, total_iters=60, power=1.7), schedules.polynomial(RATE, 60, 1.7)),
        (peer.StepLR(optimizer, step_size=30, gamma=0.2), schedules.step(RATE, 0.2, every=30)),
        (peer.ExponentialLR(optimizer, gamma=0.97), schedules.exponential(RATE, 0.97)),
    ]
    for scheduler, ours in forms:
        for t in range(RUN + 1):
            scheduler.last_epoch = t
            (theirs,) = scheduler._get_closed_form_lr()  # pyright: ignore
            # Fewer than ten roundings of numbers of the size of the rate on either side.
            assert ours(t) == pytest.approx(theirs, abs=20 * np.spacing(RATE))


def test_restarts_begin_exactly_at_the_rate() -> None:
    s = schedules.warm_restarts(0.3, period=5, growth=2, final=0.01)
    assert [s(t) for t in (0, 5, 15, 35, 5 * (2**40 - 1))] == [0.3] * 5
    assert s(34.999999) == pytest.approx(0.01, abs=1e-9)
    steady = schedules.warm_restarts(0.3, period=7)
    assert steady(7 * 10**12 + 3) == steady(3)
