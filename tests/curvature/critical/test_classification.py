"""Kinds of critical points against surfaces and models whose answer is known."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from torch import nn

from thalweg import surfaces
from thalweg.curvature import classify, eigenpairs, hessian
from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

BIG = 600
"""More dimensions than those up to which the whole spectrum is computed."""


def at_center(eigenvalues, **arguments):
    """The classification of the center, 0, of a quadratic."""
    surface = surfaces.quadratic(eigenvalues=torch.as_tensor(eigenvalues, dtype=torch.float64))
    return classify(surface, torch.zeros(surface.size, dtype=torch.float64), **arguments)


def big(*groups):
    """Eigenvalues spread over the (lowest, highest, how many) of each group."""
    return torch.cat([torch.linspace(low, high, count, dtype=torch.float64) for low, high, count in groups])


@pytest.mark.parametrize(
    ("eigenvalues", "kind", "index", "text"),
    [
        ([3.0, 1.0], "minimum", 0, "minimum"),
        ([3.0], "minimum", 0, "minimum"),
        ([-3.0, -1.0], "maximum", 2, "maximum"),
        ([3.0, -1.0, 0.5], "saddle", 1, "saddle, index 1 (± 0)"),
        ([3.0, -1.0, -0.5, 2.0, -7.0], "saddle", 3, "saddle, index 3 (± 0)"),
        ([3.0, 0.0], "undetermined", 0, "undetermined: 1 eigenvalues within error"),
        ([-3.0, 0.0, 0.0], "undetermined", 1, "undetermined: 2 eigenvalues within error"),
        ([3.0, -1.0, 0.0], "saddle", 1, "saddle, index 1 (+ 0 to 1)"),
        ([0.0, 0.0], "undetermined", 0, "undetermined: 2 eigenvalues within error"),
    ],
)
def test_quadratics(eigenvalues, kind, index, text):
    found = at_center(eigenvalues)
    assert (found.kind, found.index, found.index_at_least) == (kind, index, False)
    assert found.near_zero == eigenvalues.count(0.0)
    assert found.gradient_norm == 0
    assert found.smallest == pytest.approx(min(eigenvalues), abs=1e-14)
    assert found.largest == pytest.approx(max(eigenvalues), abs=1e-14)
    assert str(found).startswith(text)


def test_the_nine_critical_points_of_himmelblaus_function():
    """Four minima, four saddles and a maximum (Himmelblau 1972), at coordinates from the literature."""
    surface = surfaces.himmelblau()
    points = [p.location for p in surface.critical_points]
    kinds = Counter(classify(surface, point).kind for point in points)
    assert kinds == {"minimum": 4, "saddle": 4, "maximum": 1}
    (top,) = [p for p in points if classify(surface, p).kind == "maximum"]
    assert top.tolist() == pytest.approx([-0.270845, -0.923039], abs=1e-6)
    assert all(classify(surface, p).index == 1 for p in points if classify(surface, p).kind == "saddle")


@pytest.mark.parametrize("name", ["monkey_saddle", "degenerate_saddle"])
def test_saddles_that_the_hessian_does_not_show(name):
    surface = surfaces.get(name)
    assert classify(surface, torch.zeros(2, dtype=torch.float64)).kind == "undetermined"


def test_a_slope_is_no_critical_point():
    surface = surfaces.quadratic(eigenvalues=[3.0, -1.0])
    found = classify(surface, torch.tensor([0.3, 0.4], dtype=torch.float64))
    assert found.kind == "not critical"
    assert found.gradient_norm == pytest.approx((0.9**2 + 0.4**2) ** 0.5)
    assert found.gradient_tolerance == pytest.approx(3e-7)
    assert re.match(r"not critical: gradient norm 0\.98\d* against a tolerance of 3", str(found))
    assert "index 1" in str(found)


def test_the_gradients_tolerance():
    """‖g‖ counts as zero up to gradient_tol · λmax · max(1, ‖θ‖)."""
    surface = surfaces.quadratic(eigenvalues=[4.0, 1.0])
    theta = torch.tensor([1e-3, 0.0], dtype=torch.float64)
    assert classify(surface, theta, gradient_tol=1.01e-3).kind == "minimum"
    assert classify(surface, theta, gradient_tol=0.99e-3).kind == "not critical"
    far = surfaces.quadratic(eigenvalues=[4.0, 1.0], center=[300.0, 400.0])
    theta = torch.tensor([300.0 + 0.1, 400.0], dtype=torch.float64)
    assert classify(far, theta, gradient_tol=1e-3).kind == "minimum"
    assert classify(far, theta, gradient_tol=1e-4).kind == "not critical"


def test_without_a_point_it_is_the_objectives_own():
    surface = surfaces.quadratic(eigenvalues=[3.0, 1.0])
    assert classify(surface).kind == "not critical"


@pytest.mark.parametrize(
    ("groups", "kind", "index", "at_least", "near_zero"),
    [
        ([(1, 2, BIG)], "minimum", 0, False, 0),
        ([(-2, -1, BIG)], "maximum", 10, True, 0),
        # Five from each end, and more from the lower where all there are negative: forty are all seen, ninety not.
        ([(-3, -2, 3), (1, 2, BIG - 3)], "saddle", 3, False, 0),
        ([(-3, -2, 40), (1, 2, BIG - 40)], "saddle", 40, False, 0),
        ([(-3, -2, 90), (1, 2, BIG - 90)], "saddle", 80, True, 0),
        ([(-3, -2, 2), (0, 0, 100), (1, 2, BIG - 102)], "saddle", 2, False, 3),
        ([(0, 0, 300), (1, 2, BIG - 300)], "undetermined", 0, False, 5),
        # The zeros at the top do not say that the negative ones below were all seen.
        ([(-2, -1, 300), (0, 0, BIG - 300)], "undetermined", 80, True, 5),
    ],
)
def test_above_the_dense_limit(groups, kind, index, at_least, near_zero):
    found = at_center(big(*groups))
    assert found.kind == kind
    assert (found.index, found.index_at_least, found.near_zero) == (index, at_least, near_zero)
    assert ("at least" in str(found)) == (at_least and kind == "saddle")
    assert found.error <= 2e-3 * 3


def test_more_pairs_show_more():
    eigenvalues = big((-3, -2, 7), (1, 2, BIG - 7))
    found = at_center(eigenvalues, max_k=5)
    assert (found.index, found.index_at_least) == (5, True)
    assert str(found) == "saddle, index at least 5"
    for more in ({"max_k": 8}, {"max_k": 5, "k": 16}, {}):
        found = at_center(eigenvalues, **more)
        assert (found.index, found.index_at_least) == (7, False)
        assert str(found) == "saddle, index 7 (± 0)"


def test_the_lower_end_is_followed_no_further_than_it_must():
    """Three negative ones of five seen are all there are: no more products are spent than the pairs themselves take."""
    calls = []
    eigenvalues = big((-3, -2, 3), (1, 2, BIG - 3))

    def formula(x):
        calls.append(x.shape)
        return 0.5 * (eigenvalues.reshape(-1, *[1] * (x.dim() - 1)) * x**2).sum(0)

    surface = surfaces.Surface("counted", formula, torch.zeros(BIG, dtype=torch.float64))
    with hessian(surface) as operator:
        products = eigenpairs(operator, 10, "both").products
    calls.clear()
    assert classify(surface).products == products
    assert len(calls) <= products + 1


KNOWN = [
    (name, i)
    for name in surfaces.names()
    for i, point in enumerate(surfaces.get(name).critical_points)
    if point.smooth and i < 20
]


@pytest.mark.parametrize(("name", "i"), KNOWN)
def test_the_known_critical_points_of_every_surface(name, i):
    """Zero eigenvalues make a kind that a surface knows from its lowest value undetermined; others are the same."""
    surface = surfaces.get(name)
    known = surface.critical_points[i]
    found = classify(surface, known.location)
    assert found.index == known.index
    assert found.near_zero == known.nullity
    expected = known.kind if known.kind == "saddle" or not known.nullity else "undetermined"
    assert found.kind == expected


def test_known_pairs_are_used_and_none_are_computed():
    calls = []
    eigenvalues = big((-3, -2, 3), (1, 2, BIG - 3))

    def formula(x):
        calls.append(x.shape)
        return 0.5 * (eigenvalues.reshape(-1, *[1] * (x.dim() - 1)) * x**2).sum(0)

    surface = surfaces.Surface("counted", formula, torch.zeros(BIG, dtype=torch.float64))
    with hessian(surface) as operator:
        pairs = eigenpairs(operator, 10, "both")
    calls.clear()
    found = classify(surface, pairs=pairs)
    assert (found.kind, found.index) == ("saddle", 3)
    # The gradient, and no product.
    assert len(calls) == 1


def test_pairs_from_one_end_are_refused():
    surface = surfaces.quadratic(eigenvalues=big((1, 2, BIG)))
    with hessian(surface) as operator:
        top, single = eigenpairs(operator, 4, "largest"), eigenpairs(operator, 1, "both")
    with pytest.raises(InvalidArgument, match=r'which="both"\), got which=\'largest\''):
        classify(surface, pairs=top)
    with pytest.raises(InvalidArgument, match="pairs must hold at least 2 values, got 1"):
        classify(surface, pairs=single)
    with pytest.raises(InvalidArgument, match="k must hold at least 2 values, got 1"):
        classify(surface, k=1)


def least_squares(dtype, dead):
    """A linear regression at its exact solution; with `dead` one input is always 0 and its weight is free."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=draw, dtype=torch.float64)
    y = torch.randn(40, 2, generator=draw, dtype=torch.float64)
    if dead:
        x[:, 2] = 0
    model = nn.Linear(6, 2, bias=False)
    solution = torch.linalg.lstsq(x, y, driver="gelsd").solution
    with torch.no_grad():
        model.weight.copy_(solution.T)
    return Objective(model.to(dtype), nn.MSELoss(), (x.to(dtype), y.to(dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model(dtype):
    # In float64 the solution is as exact as float32 parameters let it be.
    found = classify(least_squares(dtype, dead=False), gradient_tol=1e-5)
    assert (found.kind, found.index, found.near_zero) == ("minimum", 0, 0)
    dead = classify(least_squares(dtype, dead=True), gradient_tol=1e-5)
    assert dead.kind == "undetermined"
    # One weight for each of the two outputs.
    assert dead.near_zero == 2


def test_the_default_tolerance_fits_the_type():
    assert classify(least_squares(torch.float32, dead=False)).kind == "minimum"
