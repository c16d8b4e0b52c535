"""Sharp and flat minima coexist, and the step size picks (K44)."""

from __future__ import annotations

import math

import pytest
import torch
from tests.curvature.critical.landscapes import surface

from thalweg.curvature.critical.classification import classify
from thalweg.curvature.critical.search import critical_points
from thalweg.optim import descend

START = [4.0, 0.1]


def product():
    """½(uv − 1)²: the minima are the hyperbola uv = 1, with curvature u² + v² across and none along."""
    return surface(lambda p: 0.5 * (p[0] * p[1] - 1) ** 2, domain=(-3.0, 3.0))


@pytest.mark.parametrize("eta", [0.005, 0.02, 0.05])
def test_small_steps_end_at_the_minimum_of_the_gradient_flow(eta):
    """The flow keeps u² − v², so that u² + v² = √((u₀² − v₀²)² + 4) = 16.11 where it meets uv = 1.

    Measured: 16.11, 16.10 and 16.09 at η = 0.005, 0.02 and 0.05.
    """
    u, v = START
    flow = math.sqrt((u**2 - v**2) ** 2 + 4)
    assert flow == pytest.approx(16.11, abs=0.005)
    descent = descend(product(), "gradient_descent", START, steps=600, lr=eta, keep="last")
    found = classify(product(), descent.last[0])
    assert found.kind == "undetermined"
    assert found.near_zero == 1
    assert found.largest == pytest.approx(flow, rel=0.01)


def test_large_steps_leave_minima_that_are_too_sharp_for_them():
    """At η = 0.2 no minimum above 2/η = 10 is stable: it ends at the flattest there is, 2.00 measured."""
    descent = descend(product(), "gradient_descent", START, steps=600, lr=0.2, keep="last")
    found = classify(product(), descent.last[0])
    assert found.kind == "undetermined"
    assert 2 - 1e-9 <= found.largest <= 2 / 0.2
    assert found.largest == pytest.approx(2.0, abs=0.02)


def test_the_search_finds_the_hyperbola_and_the_saddle():
    """All minima are one connected family, whose points stay apart, and the origin is the one other critical point."""
    found = critical_points(product(), 64)
    saddle = found.index == 1
    assert saddle.sum() == 1
    assert found.points[saddle].norm() < 1e-10
    u, v = found.points[~saddle].T
    assert torch.allclose(u * v, torch.ones_like(u), atol=1e-12)
    assert {kind.near_zero for kind in found.kinds if kind.kind != "saddle"} == {1}
    sharpness = torch.tensor([kind.largest for kind in found.kinds])[~saddle]
    assert torch.allclose(sharpness, (u**2 + v**2).float(), rtol=1e-5)
    assert sharpness.max() > 3 * sharpness.min()
