"""The claims of the lecture that initialization bears on: K10, K13, K51, K54."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.initialization.models import Branches, LinearRecurrence, chain
from torch import nn

from thalweg.initialization import SignalAudit, audit, initialize
from thalweg.initialization.rules import Scheme


def slopes(activation: Callable[[], nn.Module] | None, scheme: Scheme, seeds: int) -> tuple[float, float]:
    """Mean slopes of log2 of the mean square per layer, forward and back, over 50 layers of width 512."""
    model = chain(activation, 50, 512)
    audits: list[SignalAudit] = []
    for seed in range(seeds):
        x = torch.randn(8, 512, generator=torch.Generator().manual_seed(100 + seed))
        initialize(model, scheme, seed, x=x)
        audits.append(audit(model, x))
    return mean(a.forward_slope for a in audits), mean(a.backward_slope for a in audits)


# A layer of n units multiplies the mean square by 1 ± √(5/n) with ReLU, √(2/n) without: log2 of the signal is a random
# walk of steps 0.14 and 0.09, whose fitted slope over 50 layers has deviation √(6/5/50) · step = 0.022 and 0.014.
@pytest.mark.parametrize(
    ("activation", "scheme", "slope", "seeds"),
    [(nn.ReLU, "he", 0, 3), (nn.ReLU, "auto", 0, 3), (None, "xavier", 0, 2), (nn.ReLU, "xavier", -1, 3)],
)
def test_k13_variance_keeping_initialization(
    activation: Callable[[], nn.Module] | None, scheme: Scheme, slope: int, seeds: int
) -> None:
    forward, back = slopes(activation, scheme, seeds)
    assert forward == pytest.approx(slope, abs=0.05)
    assert back == pytest.approx(slope, abs=0.05)


def test_k13_smooth_rectifiers_stay_within_a_third_of_an_octave_per_layer() -> None:
    for activation in (nn.GELU, nn.SiLU, nn.ELU):
        model = chain(activation, 20, 128)
        x = torch.randn(32, 128, generator=torch.Generator().manual_seed(1))
        initialize(model, x=x)
        found = audit(model, x)
        assert found.verdict == "healthy"
        assert abs(found.forward_slope) < 1 / 3
        assert abs(found.backward_slope) < 1 / 3


def test_k10_saturating_activations_make_plateaus() -> None:
    """Norms of the weights' gradients, first layer over last, depth 12."""
    ratios: dict[str, float] = {}
    for name, activation in {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}.items():
        model = chain(activation, 12, 64, bias=True)
        x = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
        initialize(model, x=x)
        found = audit(model, x)
        first, last = found.layers[0].weight_gradient, found.layers[-1].weight_gradient
        assert first is not None
        assert last is not None
        ratios[name] = first / last
        assert found.verdict == ("vanishing" if name == "sigmoid" else "healthy")
    assert ratios["sigmoid"] < 1e-5
    assert 0.1 < ratios["relu"] < 10
    assert 0.1 < ratios["tanh"] < 10


def growth(model: Branches, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(model(x).square().mean() / x.square().mean())


def test_k51_residual_branches_need_scaling_by_depth() -> None:
    depth, width = 64, 192
    x = torch.randn(32, width, generator=torch.Generator().manual_seed(3))
    model = Branches(depth, width)
    plain: list[float] = []
    scaled: list[float] = []
    for seed in range(2):
        initialize(model, seed=seed, x=x)
        scaled.append(growth(model, x))
        assert audit(model, x).verdict == "healthy"
        with torch.no_grad():
            for outer in model.outer:
                outer.weight.mul_(math.sqrt(depth))
        plain.append(math.log2(growth(model, x)) / depth)
        found = audit(model, x)
        assert found.verdict == "exploding"
        # The level passes 10⁶ after log2(10⁶) = 20 doublings, give or take their fluctuations.
        assert found.first_bad is not None
        assert 15 <= int(found.first_bad.split(".")[1]) <= 25
    assert mean(plain) == pytest.approx(1, rel=0.05)
    assert mean(scaled) == pytest.approx((1 + 1 / depth) ** depth, rel=0.1)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.6, 1.5), st.integers(2, 12), st.integers(5, 40), st.integers(0, 2**31))
def test_k54_the_gradient_through_depth_is_a_product_of_jacobians(
    rho: float, width: int, steps: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(width, width, generator=draw, dtype=torch.float64)).Q
    model = LinearRecurrence(rho * basis, steps)
    found = audit(model, torch.randn(3, width, generator=draw, dtype=torch.float64), seed=seed)
    # ln of a norm is half of ln 2 times log2 of a mean square. The only error is rounding: steps · 1e-16.
    assert found.backward_slope * math.log(2) / 2 == pytest.approx(math.log(rho), abs=1e-6)
    assert found.forward_slope * math.log(2) / 2 == pytest.approx(math.log(rho), abs=1e-6)
    # Over steps - 1 further applications the scale is ρ^(steps-1): beyond 10³ the audit says so, and only then.
    far = abs((steps - 1) * math.log(rho)) > math.log(1e3)
    assert (found.verdict != "healthy") is far
    assert [layer.name for layer in found.layers] == [f"step (call {i})" for i in range(1, steps + 1)]


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_levels_do_not_depend_on_the_scale_of_the_input(scale: float, seed: int) -> None:
    """A ReLU network without biases is homogeneous: the input's scale passes through."""
    model = chain(nn.ReLU, 6, 16).double()
    initialize(model, seed=seed)
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain, scaled = audit(model, x), audit(model, scale * x)
    for a, b in zip(plain.layers, scaled.layers, strict=True):
        assert b.mean_square == pytest.approx(scale**2 * a.mean_square, rel=1e-9)
        assert b.level == pytest.approx(a.level, rel=1e-9)
        assert b.gradient == pytest.approx(a.gradient, rel=1e-9)
    assert scaled.verdict == plain.verdict
