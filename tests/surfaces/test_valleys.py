from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der, rosen_hess

from thalweg import surfaces
from thalweg.errors import InvalidArgument


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5))
def test_rosenbrock_is_scipys(coordinates):
    surface = surfaces.rosenbrock(len(coordinates))
    theta = torch.tensor(coordinates, dtype=torch.float64)
    point = np.array(coordinates)
    # Terms reach 100 (3 + 9)² = 14400, summed over 5: a hundred roundings of eps make 2e-9.
    close = {"rtol": 1e-12, "abs": 2e-9}
    assert float(surface.loss(theta)) == pytest.approx(rosen(point), rel=close["rtol"], abs=close["abs"])
    torch.testing.assert_close(surface.gradient(theta), torch.tensor(rosen_der(point)), rtol=1e-12, atol=2e-9)
    torch.testing.assert_close(surface.hessian(theta), torch.tensor(rosen_hess(point)), rtol=1e-12, atol=2e-9)


def test_parabolic_valley_reaches_the_lectures_values():
    # CLAIMS: gradient descent from (0, 0) for 20 steps reaches f = 0.062 at η = 0.1.
    surface = surfaces.parabolic_valley()
    theta = surface.point
    assert theta.tolist() == [0.0, 0.0]
    for _ in range(20):
        theta = theta - 0.1 * surface.gradient(theta)
    assert float(surface.loss(theta)) == pytest.approx(0.062, abs=5e-4)


def test_ravine_is_as_steep_as_asked():
    # On the floor y = sin x at x = π/2 the floor is level: curvatures along x and y are 1 and the steepness.
    surface = surfaces.ravine(400)
    floor = torch.tensor([torch.pi / 2, 1.0], dtype=torch.float64)
    torch.testing.assert_close(surface.hessian(floor), torch.diag(torch.tensor([1.0, 400.0]).double()))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dim": 1}, "dim must be at least 2, got 1"),
        ({"dim": 2.5}, "dim must be an integer, got 2.5"),
        ({"dim": True}, "dim must be an integer, got True"),
        ({"b": 0}, "b must be a finite number above 0, got 0"),
        ({"a": float("nan")}, "a must be a finite number, got nan"),
        ({"a": "one"}, "a must be a finite number, got 'one'"),
        ({"dim": 3, "a": 2.0}, "a must be 1 with dim > 2.*, got 2.0"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(InvalidArgument, match=message):
        surfaces.rosenbrock(**parameters)
