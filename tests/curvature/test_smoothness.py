"""Smoothness along a gradient step against closed forms of a quadratic and a real network's own gradients."""

from __future__ import annotations

import math

import pytest
import torch

from curvature.models import case
from curvature.spectra import rotated
from thalweg import surfaces
from thalweg.curvature import smoothness
from thalweg.errors import InvalidArgument

N = 12
MATRIX = rotated(torch.linspace(0.5, 6, N), seed=4)
THETA = torch.linspace(-1, 1, N, dtype=torch.float64)


@pytest.fixture
def bowl() -> surfaces.Surface:
    return surfaces.Surface(
        "bowl", lambda x: 0.5 * (x * torch.tensordot(MATRIX.to(x), x, dims=1)).sum(0), THETA
    )


def test_a_quadratic(bowl: surfaces.Surface) -> None:
    rates = [0.01, 0.1, 0.3]
    found = smoothness(bowl, rates=rates)
    g = MATRIX @ THETA
    for i, rate in enumerate(rates):
        there = THETA - rate * g
        assert float(found.losses[i]) == pytest.approx(float(0.5 * there @ MATRIX @ there), rel=1e-12)
        assert float(found.gradient_changes[i]) == pytest.approx(rate * float((MATRIX @ g).norm()), rel=1e-12)
        assert float(found.distances[i]) == pytest.approx(rate * float(g.norm()), rel=1e-12)
    # On a quadratic the gradient's change over the distance is the same at every rate.
    assert found.effective_smoothness == pytest.approx(float((MATRIX @ g).norm() / g.norm()), rel=1e-10)
    assert found.loss_range == (float(found.losses.min()), float(found.losses.max()))
    assert found.gradient_range[1] == pytest.approx(0.3 * float((MATRIX @ g).norm()), rel=1e-12)


def test_rates_by_default_go_around_the_parabolas_minimum(bowl: surfaces.Surface) -> None:
    found = smoothness(bowl)
    g = MATRIX @ THETA
    best = float(g @ g / (g @ MATRIX @ g))
    assert float(found.rates[0]) == pytest.approx(best / 4)
    assert float(found.rates[-1]) == pytest.approx(4 * best)
    assert found.curvature == pytest.approx(1 / best)
    assert "effective smoothness" in str(found)


def test_a_network_is_no_smoother_than_its_largest_eigenvalue_says() -> None:
    trained = case("mlp")
    found = smoothness(trained.objective, rates=[1e-4])
    # For a short step ‖Hg‖/‖g‖, which no matrix of that norm exceeds.
    top = float(torch.linalg.matrix_norm(trained.hessian, 2))
    assert 0 < found.effective_smoothness <= top * (1 + 1e-3)


def test_bad_input(bowl: surfaces.Surface) -> None:
    for rates, message in (([], "one at least"), ([0.0], "rates"), ([math.nan], "rates")):
        with pytest.raises(InvalidArgument, match=message):
            smoothness(bowl, rates=rates)
    with pytest.raises(InvalidArgument, match="gradient of zero"):
        smoothness(bowl, torch.zeros(N, dtype=torch.float64))
    slope = surfaces.Surface("slope", lambda x: x.sum(0), THETA)
    with pytest.raises(InvalidArgument, match="no curvature"):
        smoothness(slope)
