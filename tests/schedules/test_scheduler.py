from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.schedules.cases import CASES
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as peer
from torch.optim.lr_scheduler import LRScheduler

from thalweg import schedules
from thalweg.errors import InvalidArgument

WARMED = schedules.warmup(5, then=schedules.cosine(0.2, steps=15, final=0.01), start=0.05)


@pytest.fixture(autouse=True)
def torch_has_nothing_to_warn_of() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def optimizer(*rates: float | Tensor) -> SGD:
    return SGD([{"params": [nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates], lr=1.0)


def lrs(opt: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in opt.param_groups]


def run(opt: Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """The rates of all groups at each of the steps."""
    seen: list[list[float]] = []
    for _ in range(steps):
        seen.append(lrs(opt))
        opt.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", CASES)
def test_one_group_gets_the_rate_itself(name: str) -> None:
    schedule = CASES[name].schedule
    opt = optimizer(0.123)
    scheduler = schedule.torch(opt)
    assert isinstance(scheduler, LRScheduler)
    steps = 30
    seen = run(opt, scheduler, steps)
    # Exactly: nothing is multiplied up from step to step.
    assert [rate for (rate,) in seen] == schedule.rates(steps).tolist()
    assert scheduler.get_last_lr() == [schedule(steps)]
    assert scheduler.last_epoch == steps


@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
def test_training_takes_steps_of_the_scheduled_size(make: type[Optimizer]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    reference = copy.deepcopy(model)
    x, y = torch.randn(16, 3).double(), torch.randn(16, 1).double()
    opt = make(model.parameters(), lr=7.0)  # pyright: ignore[reportCallIssue]
    scheduler = WARMED.torch(opt)
    by_hand = make(reference.parameters(), lr=1.0)  # pyright: ignore[reportCallIssue]
    for t in range(25):
        by_hand.param_groups[0]["lr"] = WARMED(t)
        for net, descent in ((model, opt), (reference, by_hand)):
            descent.zero_grad()
            nn.functional.mse_loss(net(x), y).backward()
            descent.step()
        scheduler.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_groups_keep_their_ratios_under_the_largest() -> None:
    opt = optimizer(0.1, 0.4, 0.0)
    seen = run(opt, WARMED.torch(opt), 25)
    for t, (low, high, frozen) in enumerate(seen):
        assert high == WARMED(t)
        assert low == pytest.approx(WARMED(t) / 4, rel=1e-15, abs=0)
        assert frozen == 0


def test_an_optimizer_without_a_rate_gets_the_schedules() -> None:
    opt = optimizer(0.0, 0.0)
    assert run(opt, WARMED.torch(opt), 3) == [[WARMED(t)] * 2 for t in range(3)]


def test_rates_that_are_tensors_are_filled() -> None:
    tensors = [torch.tensor(0.4), torch.tensor(0.1, dtype=torch.float64)]
    opt = optimizer(*tensors)
    scheduler = WARMED.torch(opt)
    held = [group["lr"] for group in opt.param_groups]
    for t in range(40):
        last = scheduler.get_last_lr()
        assert all(group["lr"] is rate for group, rate in zip(opt.param_groups, held, strict=True))
        assert all(
            isinstance(rate, Tensor) and rate is not group for rate, group in zip(last, held, strict=True)
        )
        # One rounding to float32 for the first; the ratio of the second holds a float32 0.4.
        assert lrs(opt) == pytest.approx([WARMED(t), WARMED(t) / 4], rel=6e-8, abs=0)
        opt.step()
        scheduler.step()


def states(opt: Optimizer, scheduler: LRScheduler) -> tuple[dict[str, object], dict[str, object]]:
    file = io.BytesIO()
    torch.save((opt.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    "order", ["optimizer first", "scheduler first", "before construction", "scheduler only"]
)
@pytest.mark.parametrize("tensors", [False, True])
def test_resuming_continues_as_if_nothing_had_happened(order: str, tensors: bool) -> None:
    def rates() -> list[float | Tensor]:
        return [torch.tensor(0.1), torch.tensor(0.4)] if tensors else [0.1, 0.4]

    whole = optimizer(*rates())
    expected = run(whole, WARMED.torch(whole), 25)
    for stop in (1, 5, 12, 22):
        first = optimizer(*rates())
        scheduler = WARMED.torch(first)
        run(first, scheduler, stop)
        saved, saved_schedule = states(first, scheduler)

        second = optimizer(*rates())
        if order == "before construction":
            second.load_state_dict(saved)
        resumed = WARMED.torch(second)
        if order == "optimizer first":
            second.load_state_dict(saved)
        resumed.load_state_dict(saved_schedule)
        if order == "scheduler first":
            second.load_state_dict(saved)
        assert resumed.last_epoch == stop
        assert resumed.get_last_lr() == expected[stop]
        assert run(second, resumed, 25 - stop) == expected[stop:]


def test_a_saved_state_is_not_changed_by_what_follows() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 3)
    saved = scheduler.state_dict()
    before = copy.deepcopy(saved)
    opt.param_groups[0]["lr"] /= 2
    run(opt, scheduler, 3)
    assert saved == before
    assert "schedule" not in saved


def test_a_change_made_after_the_last_step_is_resumed() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 3)
    opt.param_groups[0]["lr"] /= 2
    saved, saved_schedule = states(opt, scheduler)
    second = optimizer(0.1)
    resumed = WARMED.torch(second)
    second.load_state_dict(saved)
    resumed.load_state_dict(saved_schedule)
    assert run(second, resumed, 5) == run(opt, scheduler, 5)


def test_restored_rates_stay_the_tensors_that_they_were() -> None:
    opt = optimizer(torch.tensor(0.1))
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 3)
    second = optimizer(torch.tensor(0.1))
    held = second.param_groups[0]["lr"]
    WARMED.torch(second).load_state_dict(scheduler.state_dict())
    assert second.param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(WARMED(3), rel=6e-8, abs=0)


def test_resuming_by_the_number_of_the_last_step() -> None:
    opt = optimizer(0.1, 0.4)
    expected = run(opt, WARMED.torch(opt), 25)
    again = optimizer(0.0, 0.0)
    for group, initial in zip(again.param_groups, (0.1, 0.4), strict=True):
        group["initial_lr"] = initial
    assert run(again, WARMED.torch(again, last_epoch=11), 13) == expected[12:]
    with pytest.raises(KeyError, match="initial_lr"):
        WARMED.torch(optimizer(0.1), last_epoch=11)


def test_a_second_schedule_starts_from_the_same_ratios() -> None:
    opt = optimizer(0.1, 0.4)
    run(opt, schedules.linear(0.2, 10).torch(opt), 10)
    assert lrs(opt) == [0, 0]
    assert (
        run(opt, schedules.constant(0.8).torch(opt), 2) == [pytest.approx([0.2, 0.8], rel=1e-15, abs=0)] * 2
    )


def test_a_rate_changed_by_hand_stays_changed_by_that_factor() -> None:
    opt = optimizer(0.1, 0.4)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 7)
    opt.param_groups[1]["lr"] /= 10
    for t, (low, high) in enumerate(run(opt, scheduler, 15), start=7):
        # The factor is found by one division: two roundings.
        assert low == pytest.approx(WARMED(t) / 4, rel=1e-15, abs=0)
        assert high == pytest.approx(WARMED(t) / 10, rel=1e-15, abs=0)


def test_at_a_rate_of_zero_a_change_has_no_factor_and_a_new_group_no_share() -> None:
    schedule = schedules.warmup(4, schedules.constant(0.4))
    opt = optimizer(0.1, 0.2)
    scheduler = schedule.torch(opt)
    opt.param_groups[0]["lr"] = 3.0
    opt.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.1})
    run(opt, scheduler, 1)
    assert lrs(opt) == [schedule(1) / 2, schedule(1), schedule(1)]


def test_a_group_frozen_by_hand_stays_frozen_until_it_is_freed() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 2)
    opt.param_groups[0]["lr"] = 0.0
    assert run(opt, scheduler, 3) == [[0.0]] * 3
    opt.param_groups[0]["lr"] = WARMED(5) / 2
    run(opt, scheduler, 3)
    assert lrs(opt) == pytest.approx([WARMED(8) / 2], rel=1e-15, abs=0)


def test_a_group_added_later_follows_from_its_own_rate() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 5)
    opt.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": WARMED(5) / 8})
    run(opt, scheduler, 5)
    assert lrs(opt) == pytest.approx([WARMED(10), WARMED(10) / 8], rel=1e-15, abs=0)
    assert len(scheduler.get_last_lr()) == 2


@pytest.mark.parametrize("ours_is_first", [True, False])
def test_chained_with_torchs_schedulers_factors_multiply(ours_is_first: bool) -> None:
    opt = optimizer(0.1, 0.4)
    ours = WARMED.torch(opt)
    damped = peer.ExponentialLR(opt, gamma=0.9)
    halved = peer.ConstantLR(opt, factor=0.5, total_iters=6)
    parts: list[LRScheduler] = [ours, damped, halved] if ours_is_first else [damped, halved, ours]
    seen = run(opt, peer.ChainedScheduler(parts), 25)
    for t, rates in enumerate(seen):
        other = 0.9**t * (0.5 if t < 6 else 1)
        # At most three roundings in each of 25 steps.
        assert rates == pytest.approx([WARMED(t) * other / 4, WARMED(t) * other], rel=75 * 1.2e-16, abs=0)


def test_a_plateau_halves_what_the_schedule_gives() -> None:
    opt = optimizer(0.1)
    ours = WARMED.torch(opt)
    plateau = peer.ReduceLROnPlateau(opt, factor=0.5, patience=0)
    run(opt, ours, 6)
    plateau.step(1.0)
    plateau.step(1.0)
    run(opt, ours, 3)
    assert lrs(opt) == pytest.approx([WARMED(9) / 2], rel=1e-15, abs=0)


def test_in_sequence_with_torchs_schedulers() -> None:
    opt = optimizer(0.1, 0.4)
    rise = peer.LinearLR(opt, start_factor=0.5, total_iters=4)
    parts: list[LRScheduler] = [rise, WARMED.torch(opt), schedules.constant(0.3).torch(opt)]
    with warnings.catch_warnings():
        # Older releases of torch call their own deprecated step(epoch) there.
        warnings.simplefilter("ignore")
        seen = run(opt, peer.SequentialLR(opt, parts, milestones=[4, 14]), 18)
    assert [high for _, high in seen[:4]] == pytest.approx([0.2, 0.25, 0.3, 0.35], rel=1e-14, abs=0)
    assert [high for _, high in seen[4:]] == [WARMED(t) for t in range(10)] + [0.3] * 4
    assert [low for low, _ in seen[4:]] == pytest.approx([high / 4 for _, high in seen[4:]], rel=1e-15, abs=0)


def test_ours_first_in_a_sequence_and_a_chain_within_it() -> None:
    opt = optimizer(0.4)
    first = peer.ChainedScheduler([WARMED.torch(opt)])
    second = peer.StepLR(opt, step_size=1, gamma=0.5)
    with warnings.catch_warnings():
        # A sequence begins a chain by step(), which torch then takes for a step out of order.
        warnings.simplefilter("ignore")
        sequence = peer.SequentialLR(opt, [first, second], milestones=[10])
    seen = run(opt, sequence, 13)
    assert [rate for (rate,) in seen] == [*WARMED.rates(10).tolist(), 0.4, 0.2, 0.1]


def test_schedulers_can_be_pickled_and_copied() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    run(opt, scheduler, 7)
    for twin in (pickle.loads(pickle.dumps(scheduler)), copy.deepcopy(scheduler)):
        assert twin.schedule == WARMED
        seen = run(twin.optimizer, twin, 5)
        assert [rate for (rate,) in seen] == WARMED.rates(12)[7:].tolist()
    assert lrs(opt) == [WARMED(7)]


def test_torchs_warning_about_the_order_of_steps_is_kept() -> None:
    opt = optimizer(0.1)
    scheduler = WARMED.torch(opt)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step"):
        scheduler.step()


def test_only_optimizers_have_rates() -> None:
    with pytest.raises(InvalidArgument, match=r"optimizer must be a torch.optim.Optimizer, got Linear"):
        WARMED.torch(nn.Linear(1, 1))  # pyright: ignore[reportArgumentType]


def test_annealing_a_noisy_quadratic_ends_lower_than_a_constant_rate() -> None:
    def final(schedule: schedules.Schedule) -> float:
        theta = nn.Parameter(torch.full((4000,), 3.0))
        noise = torch.Generator().manual_seed(0)
        opt = SGD([theta], lr=1.0)
        scheduler = schedule.torch(opt)
        for _ in range(200):
            theta.grad = theta.detach() + torch.randn(theta.shape, generator=noise)
            opt.step()
            scheduler.step()
        return float(theta.detach().square().mean() / 2)

    # Stationary loss ησ²/(2(2 − η)) of a coordinate; the mean of 4000 squares strays by √(2/4000) = 2.2 %.
    level = final(schedules.constant(0.2))
    assert level == pytest.approx(0.2 / (2 * 1.8), rel=4 * np.sqrt(2 / 4000), abs=0)
    assert final(schedules.cosine(0.2, 200)) < level / 2
