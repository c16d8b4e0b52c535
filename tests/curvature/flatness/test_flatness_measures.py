"""The measures within a radius against closed forms, and what each is unchanged by: permuting, rotating, rescaling."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torch import nn

import thalweg as tw
from curvature.spectra import rotated
from thalweg import surfaces
from thalweg.curvature import sharpness
from thalweg.errors import InvalidArgument, NotDifferentiable

N = 24
VALUES = torch.cat([torch.tensor([9.0, 4.0]), torch.linspace(-2, 1, N - 2)]).double()
MATRIX = rotated(VALUES, seed=3)
THETA = torch.linspace(0.5, 1.5, N, dtype=torch.float64)


def bowl(matrix: torch.Tensor = MATRIX) -> surfaces.Surface:
    def formula(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x * torch.tensordot(matrix.to(x), x, dims=1)).sum(0)

    return surfaces.Surface("full quadratic", formula, THETA)


def trust_region(matrix: np.ndarray, slope: np.ndarray, rho: float) -> float:
    """max gᵀu + ½uᵀAu over ‖u‖ ≤ ρ by its secular equation: (μI − A)u = g with μ > λmax and ‖u‖ = ρ."""
    values, vectors = np.linalg.eigh(matrix)
    g = vectors.T @ slope

    def norm(mu: float) -> float:
        return float(np.linalg.norm(g / (mu - values)) - rho)

    mu = brentq(norm, values[-1] + 1e-9, values[-1] + 10 * np.linalg.norm(g) / rho, xtol=1e-13)
    u = g / (mu - values)
    return float(g @ u + 0.5 * (values * u**2).sum())


@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_the_maximum_within_the_ball_is_the_trust_regions(rho: float) -> None:
    exact = trust_region(MATRIX.numpy(), (MATRIX @ THETA).numpy(), rho)
    found = sharpness(bowl(), "max", rho=rho)
    assert found.value <= exact * (1 + 1e-12)
    # The error supposes that gains shrink at a steady rate, which step lengths that change leave only roughly true.
    assert exact - found.value <= 2 * found.error + 1e-12
    assert found.error <= 2e-3 * exact
    assert found.value >= sharpness(bowl(), "sam", rho=rho).value


def test_the_maximum_at_a_critical_point_is_the_top_eigenvalues() -> None:
    found = sharpness(bowl(), "max", torch.zeros(N, dtype=torch.float64), rho=0.3)
    assert found.value == pytest.approx(0.5 * 9 * 0.3**2, rel=2e-3)


def test_the_adaptive_maximum_is_that_of_the_scaled_matrix() -> None:
    scale = THETA.abs().numpy()
    scaled = MATRIX.numpy() * scale[:, None] * scale[None]
    exact = trust_region(scaled, scale * (MATRIX @ THETA).numpy(), 0.5)
    found = sharpness(bowl(), "adaptive")
    assert exact - 2 * found.error - 1e-12 <= found.value <= exact * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["volume", "adaptive_volume"])
def test_volumes_of_a_bowl(kind: str) -> None:
    """Over noise the slope's term vanishes in the mean and ½σ² Σ λᵢᵢ sᵢ² is left."""
    matrix = rotated(torch.linspace(1, 5, N), seed=1)
    theta = (
        torch.full((N,), 1e-3, dtype=torch.float64) if kind == "adaptive_volume" else torch.zeros(N).double()
    )
    scale = theta.abs() if kind == "adaptive_volume" else torch.ones(N).double()
    exact = float((matrix.diagonal() * scale**2).sum()) / (2 * 0.1)
    found = sharpness(bowl(matrix), kind, theta, probes=400)
    assert abs(found.value - exact) < 4 * found.error
    assert found.error < 0.1 * found.value


def test_k59_flatness_bounds_the_gap_under_shift() -> None:
    """Test loss = training loss shifted by δ along the top eigenvector: ½λδ²; by σu at random: ½σ² tr H."""
    matrix = rotated(torch.linspace(0.1, 5, N), seed=2)
    surface, origin = bowl(matrix), torch.zeros(N, dtype=torch.float64)
    delta, sigma = 0.01, 0.01
    top = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    assert float(surface.loss(origin + delta * top)) == pytest.approx(0.5 * 5 * delta**2, rel=0.01)
    mean = sharpness(surface, "average", origin, rho=sigma * math.sqrt(N), probes=4000)
    # The relative standard error of a mean of 4,000 quadratic forms of this spectrum is about 0.4 %.
    assert mean.value == pytest.approx(0.5 * sigma**2 * float(matrix.trace()), rel=0.012)


@pytest.fixture(scope="module")
def network() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10, bias=False), nn.ReLU(), nn.Linear(10, 3, bias=False)).double()
    x, y = torch.randn(80, 6, dtype=torch.float64), torch.randint(0, 3, (80,))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, x, y


def rescaled(model: nn.Sequential, factor: float) -> nn.Sequential:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight *= factor
        other[2].weight /= factor
    return other


def permuted(model: nn.Sequential) -> nn.Sequential:
    other = copy.deepcopy(model)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight[order])
        other[2].weight.copy_(model[2].weight[:, order])
    return other


RESCALING = {"adaptive": True, "adaptive_volume": True, "fisher_rao": True} | dict.fromkeys(
    ("lambda_max", "trace", "sam", "max", "average", "volume"), False
)


@pytest.mark.parametrize("kind", RESCALING)
def test_rescaling_the_layers(network: tuple[nn.Sequential, torch.Tensor, torch.Tensor], kind: str) -> None:
    model, x, y = network
    values = []
    for factor in (1.0, 4.0):
        obj = tw.Objective(rescaled(model, factor), F.cross_entropy, (x, y))
        values.append(sharpness(obj, kind, probes=32))
    one, other = values
    ratio = other.value / one.value
    if RESCALING[kind]:
        # The same ascent, noise and products up to rounding.
        assert ratio == pytest.approx(1, rel=1e-6)
        assert "rescaling" in one.invariant_to
    else:
        assert abs(math.log(ratio)) > math.log(1.3)
        assert "rescaling" not in one.invariant_to


@pytest.mark.parametrize("kind", RESCALING)
def test_permuting_hidden_units(network: tuple[nn.Sequential, torch.Tensor, torch.Tensor], kind: str) -> None:
    model, x, y = network
    found = [
        sharpness(tw.Objective(m, F.cross_entropy, (x, y)), kind, probes=24) for m in (model, permuted(model))
    ]
    # The two stiffest directions are near each other here: an ascent creeps along between them and stops early.
    creeping = 5e-3 if kind in ("max", "adaptive") else 1e-9
    room = 4 * math.hypot(found[0].error, found[1].error) + creeping * abs(found[0].value)
    assert abs(found[0].value - found[1].value) <= room


@pytest.mark.parametrize("kind", ["lambda_max", "trace", "sam", "max", "average"])
def test_rotating(kind: str) -> None:
    turn = torch.linalg.qr(
        torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    ).Q
    one = sharpness(bowl(), kind, THETA, probes=64)
    other = sharpness(bowl(turn @ MATRIX @ turn.T), kind, turn @ THETA, probes=64)
    assert abs(one.value - other.value) <= 4 * math.hypot(one.error, other.error) + 1e-9
    assert "rotations" in one.invariant_to


def test_fisher_rao_is_its_definition(network: tuple[nn.Sequential, torch.Tensor, torch.Tensor]) -> None:
    model, x, y = network
    obj = tw.Objective(model, F.cross_entropy, (x, y))
    total = 0.0
    for i in range(len(x)):
        slope = torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters())
        )
        total += (
            sum(float((g * p.detach()).sum()) for g, p in zip(slope, model.parameters(), strict=True)) ** 2
        )
    assert sharpness(obj, "fisher_rao").value == pytest.approx(math.sqrt(total / len(x)), rel=1e-9)


def test_bad_input() -> None:
    with pytest.raises(NotDifferentiable, match="no model with data"):
        sharpness(bowl(), "fisher_rao")
    with pytest.raises(InvalidArgument, match="rise"):
        sharpness(bowl(), "volume", rise=0)
    flat = surfaces.Surface("flat", lambda x: 0 * x.sum(0), THETA)
    with pytest.raises(InvalidArgument, match="has not risen"):
        sharpness(flat, "volume")
