"""When estimates stop, and what two standard errors of few samples hold."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from thalweg.curvature.estimators.stopping import Estimate, Goal, standard_error, until
from thalweg.errors import InvalidArgument


class Decaying:
    """An estimate of size 1 whose error is `first`·√(first count/count)."""

    def __init__(self, stderr: float, limit: int) -> None:
        self.unit, self.limit = stderr, limit
        self.taken: list[int] = []

    def advance(self, count: int) -> tuple[float, float]:
        self.taken.append(count)
        return 1.0, self.unit / math.sqrt(sum(self.taken))

    def affordable(self) -> int:
        return self.limit - sum(self.taken)


def test_it_stops_at_the_goal():
    work = Decaying(1.0, 1000)
    (size, stderr), met = until(Goal(0.1), work.advance, 10, work.affordable)
    assert met
    assert (size, stderr) == (1.0, 1 / math.sqrt(sum(work.taken)))
    # 100 probes make the error 0.1; at most half as many are added at a time, and the last step is not rounded up far.
    assert 100 <= sum(work.taken) <= 101
    assert work.taken[0] == 10
    for before, count in enumerate(work.taken[1:], start=1):
        assert count <= math.ceil(sum(work.taken[:before]) / 2)


def test_it_stops_at_the_limit():
    work = Decaying(1.0, 37)
    assert not until(Goal(0.1), work.advance, 10, work.affordable)[1]
    assert sum(work.taken) == 37


def test_without_tolerance_all_is_spent():
    work = Decaying(1.0, 64)
    assert not until(Goal(0.0), work.advance, 2, work.affordable)[1]
    assert sum(work.taken) == 64


def test_no_error_is_good_enough_for_any_goal():
    assert until(Goal(0.0), lambda count: (0.0, 0.0), 2, lambda: 5)[1]


def test_the_goal_is_the_larger_of_both():
    assert Goal(0.1, 3.0).error(-50) == 5
    assert Goal(0.1, 3.0).error(2) == 3
    for bad, message in (
        ((-0.1,), "rtol must be"),
        ((math.nan,), "rtol must be"),
        ((0.1, -1.0), "atol must be"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Goal(*bad)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_two_standard_errors_hold_at_the_normal_rate(count):
    """Of normal samples, by Student's t; 20,000 means leave the rate an error of 0.15 %."""
    draw = torch.Generator().manual_seed(0)
    sample = torch.randn(20_000, count, generator=draw, dtype=torch.float64)
    means = sample.mean(1)
    errors = standard_error((sample - means[:, None]).square().sum(1), count)
    rate = float((means.abs() <= 2 * errors).double().mean())
    assert rate == pytest.approx(2 * stats.norm.cdf(2) - 1, abs=0.006)


def test_text():
    assert str(Estimate(12.346, 0.25, 40, True)) == "12.35 ± 0.25 (40 products)"
    assert str(Estimate(12.346, 0.25, 40, False)) == "12.35 ± 0.25 (40 products, not converged)"
