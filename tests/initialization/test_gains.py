from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.initialization import gain


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("linear", 0.0),
        ("relu", 0.0),
        ("tanh", 0.0),
        ("sigmoid", 0.0),
        ("leaky_relu", 0.2),
        ("leaky_relu", 1.0),
    ],
)
def test_gains_are_those_of_torch(activation: str, slope: float) -> None:
    assert gain(activation, slope) == pytest.approx(
        nn.init.calculate_gain(activation, slope if activation == "leaky_relu" else None), rel=1e-12
    )


@pytest.mark.parametrize(
    ("activation", "slope", "f"),
    [
        ("gelu", 0.0, F.gelu),
        ("silu", 0.0, F.silu),
        ("mish", 0.0, F.mish),
        ("softplus", 0.0, F.softplus),
        ("elu", 0.0, F.elu),
        ("elu", 0.5, lambda z: F.elu(z, 0.5)),
        ("celu", 2.0, lambda z: F.celu(z, 2.0)),
        ("hardswish", 0.0, F.hardswish),
        ("relu", 0.0, F.relu),
        ("leaky_relu", 0.3, lambda z: F.leaky_relu(z, 0.3)),
    ],
)
def test_a_rectifier_keeps_the_mean_square_of_a_normal_signal(
    activation: str, slope: float, f: Callable[[Tensor], Tensor]
) -> None:
    g = gain(activation, slope)

    def density(z: float) -> float:
        return float(f(torch.tensor(g * z, dtype=torch.float64))) ** 2 * float(norm.pdf(z))

    # Kinked functions converge slowly under Gauss-Hermite quadrature: 1e-3 at 100 nodes.
    mean_square = quad(density, -9, 0)[0] + quad(density, 0, 9)[0]
    assert mean_square == pytest.approx(1, abs=2e-3)


def test_selu_has_its_own_fixed_point() -> None:
    assert gain("selu") == 1
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(F.selu(z).square().mean()) == pytest.approx(1, abs=0.02)


def test_an_infinite_slope_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="slope must be finite, got inf"):
        gain("leaky_relu", math.inf)
