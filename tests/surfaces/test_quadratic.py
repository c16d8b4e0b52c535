from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import surfaces
from thalweg.errors import InvalidArgument


@settings(max_examples=25, deadline=None)
@given(st.floats(1, 1e6), st.integers(1, 8), st.integers(0, 1000))
def test_spectrum_is_logarithmic_in_any_basis(kappa, dim, seed):
    # Equal steps of the logarithm from 0 to ln κ; ln κ alone in one dimension.
    logarithms = np.linspace(0, math.log(kappa), dim) if dim > 1 else np.array([math.log(kappa)])
    expected = torch.from_numpy(np.exp(logarithms))
    for surface in (surfaces.quadratic(kappa, dim), surfaces.quadratic(kappa, dim, seed=seed)):
        eigenvalues = torch.linalg.eigvalsh(surface.hessian())
        # Rounding of the matrix and of its eigenvalues: n · eps of the largest.
        torch.testing.assert_close(eigenvalues, expected, rtol=1e-12, atol=1e-13 * kappa)


@settings(max_examples=25, deadline=None)
@given(st.floats(-360, 360), st.floats(-2, 2), st.floats(-2, 2))
def test_turning_the_bowl_is_turning_the_point(degrees, x, y):
    angle = math.radians(degrees)
    turned = [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y]
    plain = surfaces.quadratic(50).loss(torch.tensor([x, y], dtype=torch.float64))
    moved = surfaces.quadratic(50, rotation=degrees).loss(torch.tensor(turned, dtype=torch.float64))
    torch.testing.assert_close(moved, plain, rtol=1e-10, atol=1e-12)


def test_axes_are_ordered_from_flat_to_steep():
    assert surfaces.quadratic(100, 3).hessian().diagonal().tolist() == pytest.approx([1, 10, 100])


def test_eigenvalues_may_have_any_sign():
    saddle = surfaces.quadratic(eigenvalues=[2.0, -1.0])
    (point,) = saddle.critical_points
    assert (point.kind, point.index, saddle.global_minimum, saddle.complete) == ("saddle", 1, None, True)
    trough = surfaces.quadratic(eigenvalues=[2.0, 0.0])
    (point,) = trough.critical_points
    assert (point.kind, point.nullity, trough.complete) == ("minimum", 1, False)


def test_center_is_the_minimum_even_when_badly_conditioned():
    surface = surfaces.quadratic(1e10, 4, seed=0, center=[1.0, 2.0, 3.0, 4.0])
    (minimum,) = surface.minima
    assert minimum.location.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert minimum.nullity == 0


def test_random_basis_is_haar():
    # The first entry of a uniformly random unit vector in 2-D has mean square ½, over 400 seeds
    # within 5 standard errors: 5 · √(⅛ / 400) = 0.09; so has the product of both entries around 0.
    hessians = [surfaces.quadratic(eigenvalues=[1.0, 0.0], seed=seed).hessian() for seed in range(400)]
    squares = torch.stack(hessians)
    assert float(squares[:, 0, 0].mean()) == pytest.approx(0.5, abs=0.09)
    assert float(squares[:, 0, 1].mean()) == pytest.approx(0.0, abs=0.09)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"condition_number": 0.5}, "condition_number must be a finite number at least 1, got 0.5"),
        ({"condition_number": math.inf}, "condition_number must be a finite number at least 1, got inf"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"rotation": 30, "dim": 3}, "rotation turns two dimensions, got dim 3"),
        ({"rotation": 30, "seed": 1}, "give one, got 30.0 and 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"center": [1.0]}, r"center must be a finite number or 2 finite numbers, got \[1.0\]"),
        ({"center": "origin"}, "center must be a number or 2 numbers, got 'origin'"),
        ({"eigenvalues": [1.0, math.nan]}, "eigenvalues must be .* finite numbers"),
        ({"eigenvalues": [1.0, 2.0], "dim": 3}, "eigenvalues must be a finite number or 3 finite numbers"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(InvalidArgument, match=message):
        surfaces.quadratic(**parameters)


def test_goe_fills_the_semicircle():
    # λ² of the semicircle of radius 2 averages 1; finite n adds 1/n, and ∑λ²/n fluctuates by about 2/n.
    eigenvalues = torch.linalg.eigvalsh(surfaces.goe(200, seed=1).hessian())
    assert float((eigenvalues**2).mean()) == pytest.approx(1 + 1 / 200, abs=5 * 2 / 200)
    # Its edges are at ±2, fluctuating by about n^(−2/3) = 0.03 (Tracy-Widom).
    assert [float(eigenvalues.min()), float(eigenvalues.max())] == pytest.approx([-2, 2], abs=0.15)


def test_goe_entries_have_the_stated_variances():
    matrices = torch.stack([surfaces.goe(3, seed).hessian() for seed in range(300)])
    # A variance from 300 draws is right to √(2/300) = 8.2 % (one standard error), from the three pooled
    # entries of each kind to 4.7 %; four of those.
    diagonal = matrices.diagonal(dim1=1, dim2=2)
    beside = matrices[:, [0, 0, 1], [1, 2, 2]]
    assert float(diagonal.square().mean()) == pytest.approx(2 / 3, rel=0.19)
    assert float(beside.square().mean()) == pytest.approx(1 / 3, rel=0.19)


def test_goe_refuses_nonsense():
    with pytest.raises(InvalidArgument, match="dim must be at least 1, got 0"):
        surfaces.goe(0)
