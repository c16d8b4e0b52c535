"""Rank correlations against scipy's, their coverage, and the index of critical points of high loss (K8)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tests.curvature.critical.landscapes import wine

from thalweg import surfaces
from thalweg.curvature.critical.index_against_loss import (
    index_against_loss,
    spearman,
    spearman_interval,
)
from thalweg.curvature.critical.search import critical_points
from thalweg.errors import InvalidArgument


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_with_ties(pairs):
    a, b = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert math.isnan(spearman(a, b))
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a.numpy(), b.numpy()).statistic, abs=1e-12)


@pytest.mark.parametrize(("rho", "count"), [(0.0, 20), (0.6, 30), (0.9, 40)])
def test_the_interval_covers(rho, count):
    """Of 400 normal samples with ρ_s = 6/π·asin(ρ/2), 95 % of the intervals hold it.

    The number that do is binomial with deviation 4.4: four of these below 380, and a hundredth for the
    approximation (Bonett & Wright 2000 report 94 to 96 %).
    """
    true = 6 / math.pi * math.asin(rho / 2)
    draw = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        x = torch.randn(count, generator=draw, dtype=torch.float64)
        noise = torch.randn(count, generator=draw, dtype=torch.float64)
        low, high = spearman_interval(spearman(x, rho * x + math.sqrt(1 - rho**2) * noise), count, 0.95)
        held += low <= true <= high
    assert 380 - 4 * 4.4 - 4 <= held <= 400


def test_intervals_at_the_ends():
    assert all(map(math.isnan, spearman_interval(0.5, 3, 0.95)))
    assert all(map(math.isnan, spearman_interval(math.nan, 10, 0.95)))
    low, high = spearman_interval(1.0, 7, 0.95)
    assert 0.7 < low < 1
    assert high == 1
    assert spearman_interval(-1.0, 7, 0.95) == pytest.approx((-1, -low))
    narrow, wide = spearman_interval(0.5, 20, 0.5), spearman_interval(0.5, 20, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_copies_count_once():
    """Four minima of loss 0 and equal index are one pair; the saddles lie at four heights."""
    found = critical_points(surfaces.himmelblau())
    pairs = index_against_loss(found)
    assert pairs.copies.tolist() == [4, 1, 1, 1, 1, 1]
    assert pairs.index_fractions.tolist() == [0, 0.5, 0.5, 0.5, 0.5, 1]
    assert pairs.losses.tolist() == sorted(pairs.losses.tolist())
    oracle = spearmanr(pairs.losses.numpy(), pairs.index_fractions.numpy()).statistic
    assert pairs.correlation == pytest.approx(oracle)
    assert pairs.low < pairs.correlation < pairs.high
    text = str(pairs)
    assert text.startswith("Spearman correlation of index and loss 0.85 (")
    assert text.endswith("over 6 critical points; index fraction 0 at the lowest, 1 at the highest")


def test_few_points():
    """Of one there is no correlation, of three no interval."""
    one = index_against_loss(critical_points(surfaces.himmelblau(), 1))
    assert str(one) == (
        "no correlation of index and loss, of which one is constant, over 1 critical point; index fraction 1 at the "
        "lowest, 1 at the highest"
    )
    three = index_against_loss(critical_points(surfaces.quartic(), 16))
    assert str(three).startswith("Spearman correlation of index and loss 0.87 over 3 critical points; ")


def test_without_points():
    found = critical_points(surfaces.rosenbrock(), 1, max_steps=1)
    pairs = index_against_loss(found)
    assert str(pairs) == "no critical points"
    assert math.isnan(pairs.correlation)
    with pytest.raises(InvalidArgument, match=r"level must be in \(0, 1\), got 1"):
        index_against_loss(found, level=1)


def test_the_index_of_a_networks_critical_points_rises_with_their_loss():
    """K8 (Dauphin et al. 2014; Pennington & Bahri 2017), on 3-8-3 tanh units with weight decay, 59 parameters.

    Measured with seeds 0 to 4 of 48 starts each: 38 to 41 points between losses 0.089 and 0.983, of which 12 to 21 are
    no copies of others; correlations 0.91 to 0.96. On the diabetes data (3-8-1, 41 parameters) 0.82 to 0.92; but with
    two hidden layers of four and less decay (51 parameters) 0.59 to 0.89, and other ways to choose the starts' indices
    gave 0.81 to 0.94 here and 0.58 to 0.84 on the diabetes data, from more points at low losses. The lowest points are
    minima. At the highest, all weights zero but the last biases, 0.27 of the eigenvalues are negative: 16 of 59, two
    for each unit.
    """
    pairs = index_against_loss(critical_points(wine(8), 40))
    assert len(pairs.losses) >= 8
    assert pairs.correlation > 0.8
    assert pairs.losses[-1] > 5 * pairs.losses[0]
    assert pairs.index_fractions[0] == 0
    assert pairs.index_fractions[pairs.losses < 1.01 * pairs.losses[0]].max() < 0.1
    assert pairs.index_fractions[-1] == pytest.approx(16 / 59)
