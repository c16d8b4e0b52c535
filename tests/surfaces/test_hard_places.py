"""Saddles, plateaus and cliffs do what they are named for."""

from __future__ import annotations

import pytest
import torch

from thalweg import surfaces
from thalweg.errors import InvalidArgument
from thalweg.surfaces import Surface


def descended(surface: Surface, start: list[float], lr: float, steps: int) -> torch.Tensor:
    theta = torch.tensor(start, dtype=torch.float64)
    for _ in range(steps):
        theta = theta - lr * surface.gradient(theta)
    return theta


def test_descent_stays_on_the_stable_manifold():
    assert descended(surfaces.strict_saddle(), [1.0, 0.0], 0.1, 500)[1] == 0.0
    # Off it, y grows by the factor 1 + η each step.
    escaped = descended(surfaces.strict_saddle(), [1.0, 1e-6], 0.1, 50)
    assert float(escaped[1]) == pytest.approx(1e-6 * 1.1**50, rel=1e-12)


def test_bounded_saddle_leads_to_its_minima():
    surface = surfaces.strict_saddle(4.0, bounded=True)
    assert descended(surface, [1.0, 1e-3], 0.05, 500).tolist() == pytest.approx([0.0, 2.0], abs=1e-9)
    assert surface.global_minimum == -4.0


def test_monkey_saddle_has_three_valleys():
    angles = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)[:-1] + 1e-3
    signs = surfaces.monkey_saddle().loss(torch.stack([angles.cos(), angles.sin()], dim=1)).sign()
    assert int((signs != signs.roll(1)).sum()) == 6


def test_degenerate_points_hide_from_the_hessian():
    for name in ("monkey_saddle", "degenerate_saddle"):
        (origin,) = surfaces.get(name).critical_points
        assert (origin.kind, origin.index) == ("degenerate", 0)


def test_plateau_is_high_and_flat():
    surface = surfaces.plateau()
    # σ′ is at most ¼, and on a saturated input, |wx + b| ≥ 6, at most 2.5e-3; three of nine inputs are not.
    assert float(surface.loss()) > 0.3
    assert float(surface.gradient().norm()) < 0.03
    far = torch.tensor([-1.0, -20.0], dtype=torch.float64)
    assert float(surface.loss(far)) > 0.2
    assert float(surface.gradient(far).norm()) < 1e-7


def test_cliff_rises_like_a_wall():
    surface = surfaces.cliff()
    floor = surface.gradient(torch.tensor([0.5, 0.1], dtype=torch.float64)).norm()
    wall = surface.gradient(torch.tensor([1.15, 0.1], dtype=torch.float64)).norm()
    # h_T grows as 1.15⁵⁰ ≈ 1084, the gradient as T times its square.
    assert float(wall / floor) > 1e6


def test_cliffs_minima_form_a_curve():
    # At the fixed point b = (1 − w) target every state that starts near ends at the target, up to wᵀ.
    w = torch.linspace(0, 0.5, 20, dtype=torch.float64)
    surface = surfaces.cliff()
    loss = surface.loss(torch.stack([w, 0.7 * (1 - w)], dim=1))
    assert float(loss.max()) < 0.5**100
    assert surface.minima[0].nullity == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: surfaces.strict_saddle(0.0), "curvature must be a finite number above 0, got 0.0"),
        (lambda: surfaces.cliff(1), "steps must be at least 2, got 1"),
        (lambda: surfaces.cliff(target=float("inf")), "target must be a finite number, got inf"),
        (lambda: surfaces.ravine(-1), "steepness must be a finite number above 0, got -1"),
        (lambda: surfaces.ackley(0), "dim must be at least 1, got 0"),
        (lambda: surfaces.rastrigin(0), "dim must be at least 1, got 0"),
        (lambda: surfaces.styblinski_tang(-2), "dim must be at least 1, got -2"),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(InvalidArgument, match=message):
        make()
