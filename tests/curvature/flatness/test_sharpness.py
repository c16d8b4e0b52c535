"""Sharpness measures against their closed forms on quadratics."""

from __future__ import annotations

import pytest
import torch

from curvature.models import case
from curvature.spectra import rotated
from thalweg import surfaces
from thalweg.curvature import sharpness
from thalweg.errors import InvalidArgument

N = 60
EIGENVALUES = torch.cat([torch.tensor([30.0, 11.0]), torch.linspace(-1, 2, N - 2)]).double()
MATRIX = rotated(EIGENVALUES)
THETA = torch.linspace(-1, 1, N, dtype=torch.float64)


@pytest.fixture
def bowl():
    """½ θᵀAθ for a full matrix A, which has random signs give the trace with an error."""

    def formula(x):
        return 0.5 * (x * torch.tensordot(MATRIX.to(x), x, dims=1)).sum(0)

    return surfaces.Surface("full quadratic", formula, THETA)


def test_lambda_max(bowl):
    found = sharpness(bowl, "lambda_max")
    assert abs(found.value - 30) <= found.error + 1e-12
    assert found.error <= 1e-3 * 30


def test_trace(bowl):
    found = sharpness(bowl, "trace")
    assert abs(found.value - float(EIGENVALUES.sum())) <= 4 * found.error
    assert found.error > 0


@pytest.mark.parametrize("rho", [0.05, 0.7])
def test_sam(bowl, rho):
    g = MATRIX @ THETA
    u = g / g.norm()
    exact = float(rho * g.norm() + 0.5 * rho**2 * u @ MATRIX @ u)
    # A difference of two losses of size 20: 1e-15 · 20 · √n, over 0.05 · 7.
    assert sharpness(bowl, "sam", rho=rho).value == pytest.approx(exact, rel=1e-12)


def test_sam_at_another_point_and_at_a_critical_one(bowl):
    assert sharpness(bowl, "sam", torch.zeros(N, dtype=torch.float64)).value == 0
    half = sharpness(bowl, "sam", THETA / 2).value
    assert half < sharpness(bowl, "sam", THETA).value


@pytest.mark.parametrize("center", [True, False])
def test_average(bowl, center):
    """Over the sphere of radius ρ the slope cancels and the quadratic gives ρ² tr A / 2n."""
    theta = torch.zeros_like(THETA) if center else THETA
    rho = 0.4
    found = sharpness(bowl, "average", theta, rho=rho, probes=400)
    exact = rho**2 * float(EIGENVALUES.sum()) / (2 * N)
    assert abs(found.value - exact) <= 4 * found.error
    if center:
        # The variance of uᵀAu over the unit sphere is 2 (tr A² / n − (tr A / n)²) / (n + 2).
        n, first, second = N, EIGENVALUES.sum(), EIGENVALUES.square().sum()
        spread = rho**2 / 2 * float((2 * (second / n - (first / n) ** 2) / (n + 2)).sqrt())
        # The spread of 400 samples is known to some 5 %, a little less for the skew; four times that.
        assert found.error == pytest.approx(spread / 400**0.5, rel=0.25)


def test_the_average_of_fewer_probes_is_within_its_error(bowl):
    exact = 0.05**2 * float(EIGENVALUES.sum()) / (2 * N)
    center = torch.zeros_like(THETA)
    found = [sharpness(bowl, "average", center, seed=seed) for seed in range(20)]
    # Of twenty at least fifteen within two standard errors: at 92 % fewer come in 1 of 1000 cases.
    assert sum(abs(one.value - exact) <= 2 * one.error for one in found) >= 15


def test_a_model_is_as_it_was():
    objective = case("mlp").objective
    before = objective.point
    state = torch.random.get_rng_state()
    values = {kind: sharpness(objective, kind) for kind in ("lambda_max", "trace", "sam", "average")}
    assert torch.equal(objective.point, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert abs(values["lambda_max"].value - case("mlp").norm) <= values["lambda_max"].error + 1e-12
    assert all(value.meaning for value in values.values())


def test_bad_arguments(bowl):
    bad = [
        ({"kind": "flatness"}, "got 'flatness'"),
        ({"rho": 0.0}, "rho must be finite and above 0, got 0.0"),
        ({"rho": -1.0}, "rho must be finite and above 0, got -1.0"),
        ({"rho": float("nan")}, "rho must be finite and above 0, got nan"),
        ({"rho": float("inf")}, "rho must be finite and above 0, got inf"),
        ({"kind": "average", "probes": 1}, "probes must be an integer of at least 2, got 1"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            sharpness(bowl, **arguments)
        assert message in str(caught.value)
