from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.schedules.cases import CASES

from thalweg import schedules
from thalweg.errors import InvalidArgument, UnknownName
from thalweg.schedules import Schedule


@pytest.mark.parametrize("name", CASES)
def test_end_points_are_exact_and_the_last_rate_is_held(name: str) -> None:
    case = CASES[name]
    assert case.schedule(0) == case.first
    for t in (case.end, case.end + 0.5, case.end + 1, 10 * case.end + 7, 10**15):
        assert case.schedule(t) == case.last
    if case.end:
        assert case.schedule(case.end - 1) != case.last


@given(
    rate=st.floats(1e-12, 1e3),
    final=st.floats(0, 1e3),
    steps=st.integers(1, 10**7),
    power=st.floats(0.05, 8),
    fraction=st.floats(0, 1),
)
def test_decays_stay_between_their_ends_and_meet_them_exactly(
    rate: float, final: float, steps: int, power: float, fraction: float
) -> None:
    low, high = min(rate, final), max(rate, final)
    for s in (
        schedules.cosine(rate, steps, final),
        schedules.linear(rate, steps, final),
        schedules.polynomial(rate, steps, power, final),
        schedules.warmup_stable_decay(rate, steps, 0, steps, final, "sqrt"),
    ):
        assert s(0) == rate
        assert s(steps) == final
        assert low <= s(fraction * steps) <= high


@given(
    rate=st.floats(1e-12, 1e3),
    ratio=st.floats(0, 1),
    steps=st.integers(1, 5000),
    factor=st.floats(0.01, 1),
    times=st.lists(st.integers(0, 6000), min_size=2, max_size=30).map(sorted),
)
def test_decays_never_rise(rate: float, ratio: float, steps: int, factor: float, times: list[int]) -> None:
    for s in (
        schedules.constant(rate),
        schedules.step(rate, factor, every=steps),
        schedules.step(rate, factor, milestones=[3, 5, steps + 5]),
        schedules.exponential(rate, factor),
        schedules.exponential(rate, factor, steps),
        schedules.cosine(rate, steps, rate * ratio),
        schedules.linear(rate, steps, rate * ratio),
        schedules.polynomial(rate, steps, 1 + factor, rate * ratio),
        schedules.warmup_stable_decay(rate, steps, 0, steps, rate * ratio),
    ):
        rates = np.array([s(t) for t in times])
        # A weighted sum of two rates has two rounded products and one rounded sum: three half ulps of the largest.
        assert (np.diff(rates) <= 1.5 * np.spacing(rate)).all()


@given(
    steps=st.integers(1, 1000),
    rate=st.floats(1e-9, 10),
    start=st.floats(0, 10),
    after=st.integers(0, 400),
)
def test_warm_up_rises_straight_and_meets_what_follows(
    steps: int, rate: float, start: float, after: int
) -> None:
    then = schedules.cosine(rate, 300, rate / 7)
    s = schedules.warmup(steps, then, start)
    assert s(0) == start
    assert s(steps) == then(0) == rate
    assert s(steps + after) == then(after)
    # No jump: the last step of the rise is as high as all others. Eight roundings of the larger rate.
    high = max(rate, start)
    assert s(steps) - s(steps - 1) == pytest.approx((rate - start) / steps, abs=8 * np.spacing(high))
    assert s(steps * (1 - 1e-9)) == pytest.approx(rate, abs=1.1e-9 * high)
    middle = [s(steps * x) for x in (0.25, 0.5, 0.75)]
    assert middle == pytest.approx([start + (rate - start) * x for x in (0.25, 0.5, 0.75)], rel=1e-14, abs=0)


def test_warm_up_before_every_schedule() -> None:
    for case in CASES.values():
        s = schedules.warmup(10, case.schedule)
        assert s(10) == case.first
        assert s(10 + case.end) == case.last
        assert s(5) == pytest.approx(case.first / 2, rel=1e-15, abs=0)
    twice = schedules.warmup(5, schedules.warmup(10, schedules.constant(0.4), start=0.2), start=0.1)
    assert [twice(t) for t in (0, 5, 15, 99)] == [0.1, 0.2, 0.4, 0.4]


def test_the_lectures_formulas() -> None:
    # Double precision: a handful of roundings.
    for t in range(0, 101, 7):
        lecture = 0.3 / 2 * (1 + math.cos(math.pi * t / 100))
        assert schedules.cosine(0.3, 100)(t) == pytest.approx(lecture, abs=4e-16)
        assert schedules.exponential(0.3, 0.97)(t) == pytest.approx(0.3 * 0.97**t, rel=1e-15, abs=0)


def test_the_last_steps_of_a_long_cosine_keep_their_digits() -> None:
    # sin²x = x² at x = π/2/10⁸ to 1e-16; as 1 + cos it would be 0. 1 − t/steps has lost eight digits, twice in
    # the square.
    assert schedules.cosine(0.3, 10**8)(10**8 - 1) == pytest.approx(
        0.3 * (math.pi / 2e8) ** 2, rel=2 * 1e8 * np.spacing(1.0), abs=0
    )


def test_stable_decay() -> None:
    s = schedules.warmup_stable_decay(0.2, steps=100, warmup=10, decay=40, final=0.1)
    assert [s(t) for t in (0, 5, 10, 11, 59, 60)] == [0, 0.1, 0.2, 0.2, 0.2, 0.2]
    assert s(70) == pytest.approx(0.175, rel=1e-15, abs=0)
    root = schedules.warmup_stable_decay(0.2, 100, 10, 40, shape="sqrt")
    assert root(70) == pytest.approx(0.1, rel=1e-15, abs=0)
    wave = schedules.warmup_stable_decay(0.2, 100, 10, 40, shape="cosine")
    assert wave(70) == pytest.approx(0.1 * (1 + math.sqrt(0.5)), rel=1e-15, abs=0)
    # The plateau of a longer run is the same.
    longer = schedules.warmup_stable_decay(0.2, steps=500, warmup=10, decay=40, final=0.1)
    assert longer.rates(61).tolist() == s.rates(61).tolist()


def test_rates_are_those_of_a_run() -> None:
    s = schedules.linear(0.4, steps=4)
    rates = s.rates(6)
    assert rates.dtype == np.float64
    assert rates.tolist() == [s(t) for t in range(6)]
    assert rates.tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0], rel=1e-15, abs=0)
    assert s.rates(0).shape == (0,)
    with pytest.raises(InvalidArgument, match=r"steps must be an integer of at least 0, got 2\.5"):
        s.rates(2.5)  # pyright: ignore[reportArgumentType]


def test_steps_may_be_numbers_of_any_kind() -> None:
    s = schedules.cosine(0.1, 10)
    for t in (3, 3.0, np.int64(3), np.float32(3), torch.tensor(3)):
        assert s(t) == s(3)  # pyright: ignore[reportArgumentType]
        assert type(s(t)) is float  # pyright: ignore[reportArgumentType]
    assert type(schedules.constant(np.float32(0.5))(0)) is float  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("t", [-1, -1e-9, math.nan, math.inf])
def test_a_step_before_the_first_or_at_no_time_is_refused(t: float) -> None:
    with pytest.raises(InvalidArgument, match="t must be a finite number of steps, counted from 0"):
        schedules.constant(0.1)(t)


def test_schedules_are_values() -> None:
    for case in CASES.values():
        s = case.schedule
        assert pickle.loads(pickle.dumps(s)) == s
        assert copy.deepcopy(s) == s
        assert hash(s) == hash(copy.copy(s))
        assert eval(repr(s), vars(schedules)) == s
    drops = [3, 5]
    s = schedules.step(0.1, milestones=drops)
    drops.append(7)
    assert s(100) == 0.1 * 0.1**2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.constant(0), "rate must be finite and above 0, got 0"),
        (lambda: schedules.constant(math.inf), "rate must be finite and above 0, got inf"),
        (lambda: schedules.constant("0.1"), "rate must be a number, got '0.1'"),
        (lambda: schedules.constant(True), "rate must be a number, got True"),
        (lambda: schedules.cosine(math.nan, 10), "rate must be finite and above 0, got nan"),
        (lambda: schedules.cosine(0.1, 0), "steps must be an integer of at least 1, got 0"),
        (lambda: schedules.cosine(0.1, 10.0), "steps must be an integer of at least 1, got 10.0"),
        (lambda: schedules.cosine(0.1, True), "steps must be an integer of at least 1, got True"),
        (lambda: schedules.cosine(0.1, 10, -1e-9), "final must be finite and at least 0, got -1e-09"),
        (lambda: schedules.linear(0.1, -1), "steps must be an integer of at least 1, got -1"),
        (lambda: schedules.polynomial(0.1, 5, 0), "power must be finite and above 0, got 0"),
        (lambda: schedules.warm_restarts(0.1, 5, 0), "growth must be an integer of at least 1, got 0"),
        (lambda: schedules.exponential(0.1, 1.1), r"factor must be in \(0, 1\], got 1.1"),
        (lambda: schedules.exponential(0.1, 0.9, 0), "steps must be an integer of at least 1, got 0"),
        (lambda: schedules.step(0.1, 10, every=3), r"factor must be in \(0, 1\], got 10"),
        (lambda: schedules.step(0.1), "give either every or milestones"),
        (lambda: schedules.step(0.1, every=3, milestones=[4]), "give either every or milestones"),
        (lambda: schedules.step(0.1, every=0), "every must be an integer of at least 1, got 0"),
        (lambda: schedules.step(0.1, milestones=[5, 3]), r"milestones must ascend, got \[5, 3\]"),
        (lambda: schedules.step(0.1, milestones=[3, 3]), r"milestones must ascend, got \[3, 3\]"),
        (
            lambda: schedules.step(0.1, milestones=[0.5]),
            "each of milestones must be an integer of at least 0",
        ),
        (lambda: schedules.warmup(0, schedules.constant(1)), "steps must be an integer of at least 1"),
        (lambda: schedules.warmup(5, 0.1), r"then must be a schedule, such as constant\(0.1\), got 0.1"),
        (lambda: schedules.warmup(5, schedules.constant(1), -1), "start must be finite and at least 0"),
        (lambda: schedules.warmup_stable_decay(0.1, 9, 5, 5), r"must fit into 9 steps, got 5 \+ 5"),
        (lambda: schedules.warmup_stable_decay(0.1, 9, 5, 0), "decay must be an integer of at least 1"),
        (
            lambda: schedules.warmup_stable_decay(0.1, 9, 1, 1, shape="cosin"),
            "shape must be 'linear' or 'cosine' or 'sqrt', got 'cosin': did you mean 'cosine'",
        ),
    ],
)
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()  # pyright: ignore


def test_schedules_by_name() -> None:
    assert set(schedules.names()) >= {
        "constant",
        "cosine",
        "exponential",
        "linear",
        "polynomial",
        "step",
        "warm_restarts",
        "warmup",
        "warmup_stable_decay",
    }
    assert schedules.get("cosine", rate=0.1, steps=7) == schedules.cosine(0.1, 7)
    with pytest.raises(UnknownName, match="unknown schedule 'cosin': did you mean cosine"):
        schedules.get("cosin")
    with pytest.raises(InvalidArgument, match=r"schedule 'cosine': .*; it takes rate, steps, final"):
        schedules.get("cosine", rate=0.1)


def test_one_can_be_added() -> None:
    class half(Schedule):
        def _rate(self, t: float) -> float:
            return 0.5

    assert half()(3) == 0.5
    with pytest.raises(InvalidArgument, match="schedule 'cosine' is already registered"):
        schedules.register("cosine", half)


def test_functions_of_the_step_do_without_torch() -> None:
    program = (
        "import sys; from thalweg import schedules as s; s.warmup(3, s.cosine(0.1, 9)).rates(12); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
