from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from thalweg import surfaces
from thalweg.errors import InvalidArgument


def data(inputs: int, outputs: int, samples: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(inputs, samples, generator=generator, dtype=torch.float64)
    y = torch.randn(outputs, samples, generator=generator, dtype=torch.float64)
    return x, y


@pytest.mark.parametrize("widths", [(3, 2), (3, 3, 2), (4, 1, 3), (3, 2, 2, 3), (2, 3, 3, 3, 2)])
def test_loss_is_the_networks(widths):
    x, y = data(widths[0], widths[-1])
    surface = surfaces.linear_network(len(widths) - 1, widths, data=(x, y))
    pairs = itertools.pairwise(widths)
    layers = [torch.nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in pairs]
    net = torch.nn.Sequential(*layers)
    theta = torch.nn.utils.parameters_to_vector(net.parameters())
    # Half the squared error, summed over outputs and averaged over samples.
    loss = 0.5 * len(y) * torch.nn.functional.mse_loss(net(x.T), y.T)
    torch.testing.assert_close(surface.loss(theta), loss.detach(), rtol=1e-12, atol=0)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in net.parameters()])
    torch.testing.assert_close(surface.gradient(theta), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("widths", [(3, 2), (3, 3, 2), (4, 1, 3), (3, 2, 2, 3)])
def test_global_minimum_is_what_descent_finds(widths):
    surface = surfaces.linear_network(len(widths) - 1, widths, data=data(widths[0], widths[-1]))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(theta)
        return float(surface.loss(point)), surface.gradient(point).numpy()

    # Kawaguchi 2016: no bad minima, so that quasi-Newton from a generic start ends at the global one; scipy
    # stops at a gradient of 1e-8, where the loss is right to about its square over the curvature.
    start = np.random.default_rng(0).normal(size=surface.size)
    found = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 2000})
    assert found.fun == pytest.approx(surface.global_minimum, rel=1e-9)


def test_exactly_solvable_data_reach_zero():
    surface = surfaces.linear_network(2, 3, noise=0.0)
    assert surface.global_minimum == pytest.approx(0.0, abs=1e-25)
    assert surface.minima[0].value == pytest.approx(0.0, abs=1e-25)


def test_depth_two_has_only_strict_saddles():
    surface = surfaces.linear_network(2, (3, 3, 3))
    kinds = [p.kind for p in surface.critical_points]
    assert kinds == ["minimum", "saddle", "saddle", "saddle"]
    values = [p.value for p in surface.critical_points]
    assert values == sorted(values)
    assert all(p.index > 0 for p in surface.critical_points[1:])


@pytest.mark.parametrize("depth", [3, 4])
def test_origin_is_degenerate_from_depth_three(depth):
    surface = surfaces.linear_network(depth, 2)
    origin = surface.critical_points[-1]
    assert not origin.location.any()
    assert not surface.hessian(origin.location).any()
    assert (origin.kind, origin.nullity) == ("degenerate", surface.size)


def test_one_layer_is_least_squares():
    x, y = data(3, 2)
    surface = surfaces.linear_network(1, (3, 2), data=(x, y))
    solution = np.linalg.lstsq(x.numpy().T, y.numpy().T, rcond=None)[0].T
    (minimum,) = surface.critical_points
    assert minimum.location.tolist() == pytest.approx(solution.flatten().tolist(), abs=1e-12)


def test_scalar_network_is_the_hyperbola():
    one = torch.ones(1, 1)
    surface = surfaces.linear_network(2, 1, data=(one, one))
    u, v = 4.0, 0.1
    assert float(surface.loss(torch.tensor([u, v], dtype=torch.float64))) == pytest.approx(
        0.5 * (u * v - 1) ** 2
    )
    # Eigenvalues at the origin of ½(uv − 1)²: ±1.
    origin = surface.critical_points[-1]
    assert torch.linalg.eigvalsh(surface.hessian(origin.location)).tolist() == pytest.approx([-1, 1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_any_change_of_hidden_basis_keeps_the_loss(seed, scale):
    surface = surfaces.linear_network(2, (3, 2, 3))
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    basis = scale * torch.linalg.qr(torch.randn(2, 2, generator=generator, dtype=torch.float64)).Q
    before = surface.loss(torch.cat([first.flatten(), second.flatten()]))
    after = surface.loss(torch.cat([(basis @ first).flatten(), (second @ torch.linalg.inv(basis)).flatten()]))
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"depth": 2, "widths": (2, 2)}, r"widths must be one size or depth \+ 1 = 3 sizes, got \[2, 2\]"),
        ({"depth": 1, "widths": (2, 0)}, "widths must be at least 1, got 0"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"noise": -1.0}, "noise must be a finite number at least 0, got -1.0"),
        (
            {"data": (torch.zeros(2, 5), torch.zeros(2, 4))},
            r"data must have shapes \(2, N\) and \(2, N\), got \(2, 5\) and \(2, 4\)",
        ),
    ],
)
def test_wrong_parameters(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        surfaces.linear_network(**arguments)
