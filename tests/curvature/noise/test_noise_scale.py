"""Noise scales against all gradients of the data in one matrix."""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from curvature.models import trained
from thalweg import problems, schedules, surfaces
from thalweg.curvature.noise.estimate import moments_of
from thalweg.curvature.noise.from_batches import pair_estimates
from thalweg.curvature.noise.from_samples import GROUPS, _jackknife
from thalweg.curvature.noise.noise_scale import critical_batch_size, gradient_noise_scale
from thalweg.curvature.noise.sample_gradients import sample_gradients
from thalweg.errors import InvalidArgument
from thalweg.objective import Block, Objective
from thalweg.schedules.scaling import BeyondCriticalBatch


@cache
def wine():
    """An MLP on wine, its objective, and the gradient of each sample by a backward pass of its own."""
    model, (x, y) = trained("mlp", steps=5)
    rows = []
    for i in range(len(x)):
        slopes = torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters())
        )
        rows.append(torch.cat([slope.reshape(-1) for slope in slopes]))
    return Objective(model, F.cross_entropy, [(x[:100], y[:100]), (x[100:], y[100:])]), torch.stack(rows)


def scale_of(gradients):
    mean = gradients.mean(0)
    return float((gradients - mean).square().sum(1).mean()), float(mean.square().sum())


def test_all_samples_give_the_exact_value_and_that_of_each_parameter():
    objective, gradients = wine()
    found = gradient_noise_scale(objective)
    trace, square = scale_of(gradients)
    # Sums of 10⁵ terms in another order; tr Σ is a difference of sums of its own size.
    assert (found.trace, found.squared_norm) == pytest.approx((trace, square), rel=1e-10)
    assert found.value == pytest.approx(trace / square, rel=1e-10)
    assert (found.stderr, found.trace_stderr, found.squared_norm_stderr) == (0, 0, 0)
    assert found.interval == (found.value, found.value)
    assert (found.gradients, found.converged, found.method) == (178, True, "samples")
    assert [block.name for block in found.blocks] == [block.name for block in objective.blocks]
    for block, noise in zip(objective.blocks, found.blocks, strict=True):
        trace, square = scale_of(gradients[:, block.span])
        assert noise.value == pytest.approx(trace / square, rel=1e-9)
    assert "95 %" not in str(found)


def test_another_point_is_another_noise_scale():
    objective, _ = wine()
    theta = objective.point * 0.5
    found = gradient_noise_scale(objective, theta)
    assert found.squared_norm == pytest.approx(float(objective.gradient(theta).square().sum()), rel=1e-9)
    assert found.value != gradient_noise_scale(objective).value


@pytest.mark.parametrize(
    "options",
    [
        {"max_gradients": 120, "rtol": 1e-9},
        {"method": "batches", "small": 4, "big": 32, "max_gradients": 256, "rtol": 1e-9},
    ],
)
def test_drawn_samples_know_their_error(options):
    objective, gradients = wine()
    trace, square = scale_of(gradients)
    founds = [gradient_noise_scale(objective, seed=seed, **options) for seed in range(10)]
    for found in founds:
        assert not found.converged
        assert found.interval[0] < found.value < found.interval[1]
        assert 0 < found.gradients <= options["max_gradients"]
    # Of 10 intervals at 95 %, fewer than 7 hold once in a thousand times.
    assert sum(found.interval[0] <= trace / square <= found.interval[1] for found in founds) >= 7
    for name, exact in (("trace", trace), ("squared_norm", square)):
        values = np.array([getattr(found, name) for found in founds])
        errors = np.array([getattr(found, f"{name}_stderr") for found in founds])
        # The mean of 10 unbiased values: four standard errors.
        assert abs(values.mean() - exact) < 4 * np.sqrt((errors**2).mean() / 10)
    again = gradient_noise_scale(objective, seed=3, **options)
    assert again == founds[3]


def test_drawing_stops_at_the_error_asked_for():
    objective, _ = wine()
    few, many = (
        gradient_noise_scale(objective, method="batches", small=2, big=16, rtol=rtol, max_gradients=40_000)
        for rtol in (0.3, 0.07)
    )
    assert few.converged
    assert many.converged
    assert few.stderr <= 0.3 * few.value
    assert many.stderr <= 0.07 * many.value
    assert few.gradients < many.gradients < 40_000
    assert many.sizes == (2, 16)


def test_stated_intervals_hold_at_their_rate():
    """95 % of 300 seeds ± 3 standard errors of a binomial: at least 274, for samples and for batches."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=draw, dtype=torch.float64)
    residual = x @ torch.tensor([0.4, 0.5, -0.3, 0.0], dtype=torch.float64)
    residual = residual + torch.randn(400, generator=draw, dtype=torch.float64)
    gradients = 2 * residual[:, None] * x
    trace, square = scale_of(gradients)
    blocks = (Block("w", (3,), 0), Block("b", (1,), 3))
    hits = {"samples": 0, "few batches": 0, "batches": 0}

    def holds(name, moments):
        low, high = moments.ratio().interval
        hits[name] += low <= trace / square <= high

    for _ in range(300):
        drawn = gradients[torch.randint(400, (GROUPS, 16), generator=draw)]
        squares = drawn.square().sum(1)
        each = torch.stack([squares[:, :3].sum(1), squares[:, 3], squares.sum(1)], 1)
        holds("samples", _jackknife(drawn.sum(1), each, 16, blocks))
        for name, count in (("few batches", 8), ("batches", 24)):
            small = gradients[torch.randint(400, (count, 8, 4), generator=draw)].mean(2)
            pairs = pair_estimates(small.square().sum(2).mean(1), small.mean(1).square().sum(1), 4, 32)
            holds(name, moments_of(torch.stack(pairs, -1)[:, None]))
    assert min(hits.values()) >= 274, hits


def test_groups_of_samples_give_the_mean_product_of_all_pairs_and_its_jackknife():
    draw = torch.Generator().manual_seed(0)
    gradients = torch.randn(GROUPS, 3, 5, generator=draw, dtype=torch.float64)

    def pairs(rows):
        products = rows.flatten(0, 1) @ rows.flatten(0, 1).T
        count = len(products)
        others = (products.sum() - products.trace()) / (count * (count - 1))
        return torch.stack([products.trace() / count - others, others])

    squares = gradients.square().sum((1, 2))
    found = _jackknife(gradients.sum(1), torch.stack([squares, squares], 1), 3, (Block("w", (5,), 0),))
    torch.testing.assert_close(torch.stack([found.trace[-1], found.squared_norm[-1]]), pairs(gradients))
    without = torch.stack([pairs(torch.cat([gradients[:g], gradients[g + 1 :]])) for g in range(GROUPS)])
    apart = without - without.mean(0)
    torch.testing.assert_close(found.covariance[-1], apart.T @ apart * (GROUPS - 1) / GROUPS)


def test_sequences_of_different_lengths():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7)).double()
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(7, (size, length), generator=draw) for size, length in ((6, 4), (5, 9))]

    def loss(model, tokens):
        return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    objective = Objective(model, data=batches, batch_loss=loss)
    exact = gradient_noise_scale(objective)
    assert exact.squared_norm == pytest.approx(float(objective.gradient().square().sum()), rel=1e-9)
    drawn = gradient_noise_scale(
        objective, method="batches", small=2, big=16, rtol=0.15, max_gradients=20_000
    )
    assert drawn.interval[0] <= exact.value <= drawn.interval[1]


def test_no_signal_and_no_noise():
    """At the mean of the data the gradient vanishes; a single sample has no noise."""
    x = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)

    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

        def forward(self, x):
            return self.value.expand(len(x), 1)

    still = gradient_noise_scale(Objective(Constant(3.0), F.mse_loss, (x, x)))
    assert (still.value, still.squared_norm) == (math.inf, 0.0)
    assert critical_batch_size(still) == math.inf
    assert "∞" in str(still)
    single = gradient_noise_scale(Objective(Constant(0.0), F.mse_loss, (x[:1], x[:1])))
    assert (single.value, single.trace) == (0.0, 0.0)
    with pytest.raises(InvalidArgument, match="without gradient noise"):
        critical_batch_size(single)


def test_a_rate_scaled_past_the_critical_batch_warns():
    objective, _ = wine()
    critical = critical_batch_size(gradient_noise_scale(objective))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert schedules.scale_rate(0.1, critical / 4, critical / 2, critical=critical) == pytest.approx(0.2)
    with pytest.warns(BeyondCriticalBatch):
        schedules.scale_rate(0.1, critical / 2, critical * 2, critical=critical)


def test_bad_arguments():
    objective, _ = wine()
    for options, message in [
        (
            {"method": "sample"},
            "method must be 'samples' or 'batches', got 'sample': did you mean 'samples'?",
        ),
        ({"rtol": 0}, "rtol must be finite and above 0, got 0"),
        ({"small": 4}, 'small and big are batch sizes: use them with method="batches"'),
        (
            {"method": "batches", "small": 4, "big": 10},
            "big must be a multiple of small, at least twice, got 10 and 4",
        ),
        (
            {"method": "batches", "max_gradients": 100},
            "max_gradients must be an integer of at least 2048, got 100",
        ),
        ({"max_gradients": 40}, "max_gradients must be an integer of at least 48, got 40"),
        ({"max_gradients": 0}, "max_gradients must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            gradient_noise_scale(objective, **options)
        assert message in str(caught.value)
    with pytest.raises(InvalidArgument, match="a surface has no samples"):
        gradient_noise_scale(surfaces.rosenbrock())


@pytest.mark.parametrize("seed", range(3))
def test_noise_falls_as_one_over_the_batch(seed):
    """K32: slope −1 ± 0.05 against B, and the noise scale from two batch sizes within 15 % of the exact one."""
    objective = problems.digits(hidden=(32,)).objective(seed=seed)
    exact = gradient_noise_scale(objective)
    with sample_gradients(objective, None) as sampled:
        gradients = torch.cat([c for _, batch in objective.batches for c in sampled.chunks(batch)])
    apart, draw = gradients - gradients.mean(0), torch.Generator().manual_seed(seed)
    sizes = [1, 2, 4, 8, 16, 32, 64]
    noise = [
        float(torch.stack([apart[i].mean(0).square().sum() for i in indices]).mean())
        for indices in (torch.randint(len(apart), (200, size), generator=draw) for size in sizes)
    ]
    # Each mean of 200 draws is known to some 3 %, the slope over 4 decades of e to 0.01.
    assert np.polyfit(np.log(sizes), np.log(noise), 1)[0] == pytest.approx(-1, abs=0.05)
    assert noise[0] == pytest.approx(exact.trace, rel=0.15)
    two = gradient_noise_scale(objective, method="batches", rtol=0.05, max_gradients=20_000, seed=seed)
    assert two.value == pytest.approx(exact.value, rel=0.15)
