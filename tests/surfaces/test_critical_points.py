from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
import torch

from thalweg import surfaces

EPS = torch.finfo(torch.float64).eps


def numerical_hessian(f, x, h=1e-3):
    """Second differences of f at x (n,): off by about h² times fourth derivatives and 4 eps |f| / h²."""
    steps = h * torch.eye(len(x), dtype=x.dtype)
    corners = torch.stack(
        [torch.stack([x + a + b, x + a - b, x - a + b, x - a - b]) for a in steps for b in steps]
    )
    values = f(corners.flatten(0, 1)).reshape(len(x), len(x), 4)
    return (values[..., 0] - values[..., 1] - values[..., 2] + values[..., 3]) / (4 * h * h)


def around(point, radius, count=200):
    """Random points at a distance of `radius`."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(count, len(point), generator=generator, dtype=torch.float64)
    return point + radius * directions / directions.norm(dim=1, keepdim=True)


def test_gradient_vanishes(surface):
    assert surface.critical_points
    for p in surface.critical_points:
        # The location is right to eps, so the gradient to eps times the curvature there and the rounding of
        # terms as large as the loss; 100 operations.
        curvature = float(surface.hessian(p.location).abs().max()) if p.smooth else 0.0
        size = curvature * (1 + float(p.location.norm())) + abs(p.value) + 1
        assert float(surface.gradient(p.location).norm()) <= 100 * EPS * size
        assert p.value == pytest.approx(float(surface.loss(p.location)), rel=1e-14, abs=1e-14)


def test_kind_and_index_match_second_differences(surface):
    for p in surface.critical_points[:30]:
        if not p.smooth:
            continue
        matrix = numerical_hessian(surface.loss, p.location)
        eigenvalues = np.linalg.eigvalsh(matrix.numpy())
        # Second differences are off by h² = 1e-6 times fourth derivatives of up to 1e4 times the curvature.
        zero = max(1e-4 * np.abs(eigenvalues).max(), 1e-5)
        negative, positive = int((eigenvalues < -zero).sum()), int((eigenvalues > zero).sum())
        assert (p.index, p.nullity) == (negative, surface.size - negative - positive)
        assert (p.kind == "saddle") == (negative > 0 and positive > 0)
        assert (p.kind == "maximum") == (negative == surface.size)
        if p.kind == "minimum":
            assert not negative
        if p.kind == "degenerate":
            assert p.nullity


def test_minima_are_no_higher_than_their_surroundings(surface):
    assert {id(p) for p in surface.minima} == {id(p) for p in surface.critical_points if p.kind == "minimum"}
    for p in surface.minima:
        for radius in (1e-3, 1e-2):
            assert float(surface.loss(around(p.location, radius)).min()) >= p.value - 1e-15


def test_degenerate_points_have_a_way_down(surface):
    for p in surface.critical_points:
        if p.kind != "degenerate":
            continue
        theta = around(p.location, 0.1, 50)
        for _ in range(150):
            slope = surface.gradient(theta)
            theta = theta - 0.05 * slope / (1 + slope.norm(dim=1, keepdim=True))
        assert float(surface.loss(theta).min()) < p.value - 1e-6


def test_global_minimum_is_attained_and_never_undercut(surface, scattered):
    if surface.global_minimum is None:
        return
    assert min(p.value for p in surface.minima) == pytest.approx(surface.global_minimum, abs=1e-12)
    lowest = float(surface.loss(scattered(surface, 2000)).min())
    assert lowest >= surface.global_minimum - 1e-12


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("quartic", {"minimum": 2, "maximum": 1}),
        ("parabolic_valley", {"minimum": 1}),
        ("himmelblau", {"minimum": 4, "saddle": 4, "maximum": 1}),
        ("six_hump_camel", {"minimum": 6, "saddle": 7, "maximum": 2}),
        ("goldstein_price", {"minimum": 4, "saddle": 4, "maximum": 1}),
        ("beale", {"minimum": 1, "saddle": 2}),
        ("styblinski_tang", {"minimum": 4, "saddle": 4, "maximum": 1}),
        ("ravine", {"minimum": 1}),
    ],
)
def test_complete_lists(name, counts):
    surface = surfaces.get(name)
    kinds = [p.kind for p in surface.critical_points]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == counts
    assert surface.complete
    locations = torch.stack([p.location for p in surface.critical_points])
    assert len(locations) == 1 or float(torch.pdist(locations).min()) > 0.05


@pytest.mark.parametrize("name", ["himmelblau", "six_hump_camel", "beale"])
def test_complete_lists_hold_every_real_solution(name):
    x, y = sp.symbols("x y")
    rational = [sp.Rational(c).limit_denominator(100) for c in (1.5, 2.25, 2.625, 2.1)]
    loss = {
        "himmelblau": (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
        "six_hump_camel": (4 - rational[3] * x**2 + x**4 / 3) * x**2 + x * y + (-4 + 4 * y**2) * y**2,
        "beale": sum((c - x + x * y ** (k + 1)) ** 2 for k, c in enumerate(rational[:3])),
    }[name]
    # Eliminating x leaves a polynomial whose distinct real roots Sturm's theorem counts exactly. In all three
    # no two critical points share a y, and each y has one x: the counts agree only if none is missing.
    eliminated = sp.Poly(sp.resultant(sp.diff(loss, x), sp.diff(loss, y), x), y)
    roots = sp.Poly(sp.sqf_part(eliminated.as_expr()), y).count_roots()
    heights = {round(float(p.location[1]), 6) for p in surfaces.get(name).critical_points}
    assert roots == len(heights) == len(surfaces.get(name).critical_points)


def test_quartic_has_the_cubic_formula_roots():
    # 4x³ − 4x + ½ = 0 is x³ + px + q = 0 with p = −1, q = 1/8: Viète's three real roots.
    angle = np.arccos(-3 * np.sqrt(3) / 16) / 3
    roots = sorted(2 / np.sqrt(3) * np.cos(angle - 2 * np.pi * k / 3) for k in range(3))
    found = sorted(float(p.location) for p in surfaces.quartic().critical_points)
    assert found == pytest.approx(roots, abs=1e-14)
    lowest, higher = surfaces.quartic().minima
    curvatures = [float(surfaces.quartic().hessian(p.location)) for p in (lowest, higher)]
    assert (lowest.value, *curvatures) == pytest.approx((-1.51475, 9.4185, 6.3878), abs=5e-5)


def test_rastrigin_lists_the_minima_of_its_domain():
    surface = surfaces.rastrigin()
    assert len(surface.minima) == 11**2
    assert all(float(p.location.abs().max()) <= 5.12 for p in surface.minima)
    assert not surface.complete


def test_styblinski_tang_doubles_with_each_dimension():
    assert [len(surfaces.styblinski_tang(d).minima) for d in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert [len(surfaces.styblinski_tang(d).critical_points) for d in (1, 2, 3, 4)] == [3, 9, 27, 81]
    large = surfaces.styblinski_tang(8)
    assert len(large.critical_points) == 1
    assert not large.complete
    # The known bounds of the minimum, per dimension.
    assert -39.16617 < large.minima[0].value / 8 < -39.16616


def test_ackley_ends_in_a_cone():
    surface = surfaces.ackley()
    (tip,) = surface.minima
    assert not tip.smooth
    assert surface.hessian(tip.location).isnan().any()
    # Slope 20 · 0.2 / √n in every direction: linear, not quadratic.
    rise = surface.loss(around(tip.location, 1e-6)) / 1e-6
    assert rise.tolist() == pytest.approx([4 / 2**0.5] * 200, rel=1e-4)
