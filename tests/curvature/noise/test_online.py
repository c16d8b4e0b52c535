"""The running noise scale against weighted sums written out, and against a model that trains."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from curvature.models import trained
from thalweg.curvature.noise.noise_scale import gradient_noise_scale
from thalweg.curvature.noise.online import OnlineNoiseScale, squared_norm
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective


def random_steps(count, seed=0):
    """Squared norms of small and big batches of 4 and 32 samples from N(G, I), n = 5, G = 0.3."""
    draw = torch.Generator().manual_seed(seed)
    samples = 0.3 + torch.randn(count, 8, 4, 5, generator=draw, dtype=torch.float64)
    small = samples.mean(2)
    return small.square().sum(2), small.mean(1).square().sum(1)


def test_means_and_errors_are_the_weighted_ones():
    small, big = random_steps(40)
    meter = OnlineNoiseScale(4, 32, decay=0.9)
    for first, second in zip(small, big, strict=True):
        meter.update(first.tolist(), float(second))
    weights = 0.9 ** torch.arange(39, -1, -1, dtype=torch.float64)
    weights /= weights.sum()
    trace = (small.mean(1) - big) / (1 / 4 - 1 / 32)
    square = (32 * big - 4 * small.mean(1)) / 28
    found = meter.estimate()
    assert found.trace == pytest.approx(float(weights @ trace), rel=1e-12)
    assert found.squared_norm == pytest.approx(float(weights @ square), rel=1e-12)
    assert found.value == found.trace / found.squared_norm
    # The unbiased variance of a weighted mean of equally distributed values.
    kept = float(weights.square().sum())
    apart = trace - weights @ trace
    variance = float(weights @ apart.square()) * kept / (1 - kept)
    assert found.trace_stderr == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert meter.effective_steps == pytest.approx(1 / kept)
    assert (found.method, found.sizes, found.gradients) == ("online", (4, 32), 40 * 32)


def test_stated_intervals_hold_at_their_rate():
    """tr Σ/‖G‖² = 5/0.45; 95 % of 300 seeds ± 3 standard errors of a binomial: at least 274."""
    hits = 0
    for seed in range(300):
        small, big = random_steps(120, seed)
        meter = OnlineNoiseScale(4, 32, decay=0.97)
        for first, second in zip(small.mean(1).tolist(), big.tolist(), strict=True):
            meter.update(first, second)
        low, high = meter.estimate().interval
        hits += low <= 5 / 0.45 <= high
    assert hits >= 274


def test_accumulated_gradients_of_a_model():
    """At rest the running value is that of the data: the first of four micro-batches against all four."""
    model, (x, y) = trained("mlp", steps=5)
    exact = gradient_noise_scale(Objective(model, F.cross_entropy, (x, y)))
    meter, draw = OnlineNoiseScale(small=4, big=16, decay=0.999), torch.Generator().manual_seed(0)
    for _ in range(250):
        model.zero_grad()
        for micro in range(4):
            rows = torch.randint(len(x), (4,), generator=draw)
            (F.cross_entropy(model(x[rows]), y[rows]) / 4).backward()
            if micro == 0:
                first = 16 * squared_norm(model.parameters())
        meter.update(first, squared_norm(model.parameters()))
    found = meter.estimate()
    assert found.interval[0] <= exact.value <= found.interval[1]
    assert found.stderr < 0.25 * found.value


def test_a_continued_run_goes_on_as_if_unbroken():
    small, big = random_steps(20)
    whole, first = OnlineNoiseScale(4, 32), OnlineNoiseScale(4, 32)
    for i in range(20):
        whole.update(small[i, 0], big[i])
        if i == 9:
            first.load_state_dict(json.loads(json.dumps(whole.state_dict())))
        elif i > 9:
            first.update(small[i, 0], big[i])
    assert first.estimate() == whole.estimate()
    with pytest.raises(InvalidArgument, match="state lacks 'decay'"):
        first.load_state_dict({})


def test_sizes_may_change_and_overflow_is_left_out():
    meter = OnlineNoiseScale(4, 32)
    meter.update(2.0, 1.0)
    meter.update(math.inf, 1.0)
    meter.update(1.5, math.nan)
    meter.update(2.0, 1.0, small=8, big=64)
    assert (meter.steps, meter.skipped) == (2, 2)
    # tr Σ is 1/(1/4 − 1/32) and twice that, with weights of nearly one half.
    assert meter.estimate().trace == pytest.approx((0.99 * 32 / 7 + 64 / 7) / 1.99)


def test_bad_input():
    with pytest.raises(InvalidArgument, match="small must be below big, got 8 and 8"):
        OnlineNoiseScale(8, 8)
    with pytest.raises(InvalidArgument, match=r"decay must be in \[0, 1\), got 1"):
        OnlineNoiseScale(4, 8, decay=1)
    meter = OnlineNoiseScale(4, 8)
    with pytest.raises(InvalidArgument, match="must not be negative"):
        meter.update(-1.0, 1.0)
    with pytest.raises(InvalidArgument, match="at least one small batch"):
        meter.update([], 1.0)
    meter.update(1.0, 0.5)
    with pytest.raises(InvalidArgument, match="needs two steps"):
        meter.estimate()
    with pytest.raises(InvalidArgument, match="call backward"):
        squared_norm(torch.nn.Linear(2, 2).parameters())


def test_squared_norms():
    model = torch.nn.Linear(2, 1)
    model(torch.tensor([[3.0, 4.0]])).backward()
    assert squared_norm(model.parameters()) == pytest.approx(26)
    assert squared_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]) == pytest.approx(25)
