"""Curvature at the points of a slice against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import thalweg as tw
from landscape.models import cancer, relu_network
from thalweg.errors import InvalidArgument
from thalweg.landscape.pointwise import CURVATURES, TOL, pointwise


def test_against_dense_matrices() -> None:
    obj = tw.Objective(relu_network(torch.nn.Tanh), F.cross_entropy, cancer(40))
    plane = tw.landscape.random_plane(obj)
    basis = torch.linalg.qr(plane.directions).Q
    with pointwise(obj, plane, ["loss", *CURVATURES], 9) as measure:
        for where in [(-1.0, -1.0), (-1.0, 0.5), (0.0, 0.0), (1.0, 1.0), (0.2, -0.7)]:
            theta = plane.at(where)
            found = measure(theta)
            matrix = tw.curvature.hessian(obj, theta).dense()
            values = torch.linalg.eigvalsh(matrix)
            inner = torch.linalg.eigvalsh(basis.T @ matrix @ basis)
            room = 2 * TOL * float(values.abs().max())
            assert found["lambda_max"] == pytest.approx(float(values[-1]), abs=room)
            assert found["lambda_min"] == pytest.approx(float(values[0]), abs=room)
            assert found["plane_lambda_min"] == pytest.approx(float(inner[0]))
            assert found["plane_lambda_max"] == pytest.approx(float(inner[1]))
            assert found["loss"] == pytest.approx(float(obj.loss(theta)))


def test_an_eigenvector_that_is_overtaken() -> None:
    """Of x³ + y³ + z³ the stiffest axis changes along a line on which no Hessian mixes the axes."""
    surface = tw.surfaces.Surface("cubes", lambda x: (x**3).sum(0) / 6, [0.0] * 40)
    start = torch.zeros(40, dtype=torch.float64)
    end = start.clone()
    start[0], end[7] = 5.0, 4.0
    plane = tw.landscape.line_through(start, end)
    with pointwise(surface, plane, ["lambda_max"], 5) as measure:
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            due = max(5 * (1 - t), 4 * t)
            assert measure(plane.at([t]))["lambda_max"] == pytest.approx(due, rel=2 * TOL)


@pytest.mark.parametrize("names", [["lambda_max", "lambda_min"], ["lambda_min"], ["lambda_max"]])
def test_directions_that_a_random_vector_hardly_sees(names: list[str]) -> None:
    """Of 50x² − 20y² in 20,000 dimensions a random unit vector is an eigenvector of 0 to within a hundredth."""
    surface = tw.surfaces.Surface("rare", lambda x: 50 * x[0] ** 2 - 20 * x[1] ** 2, [0.0] * 20_000)
    plane = tw.landscape.axis_plane(surface, (2, 3))
    due = {"lambda_max": 100.0, "lambda_min": -40.0}
    with pointwise(surface, plane, names, 2) as measure:
        found = [measure(plane.at(where)) for where in ([0.0, 0.0], [1.0, -1.0])]
    for name in names:
        assert [values[name] for values in found] == pytest.approx([due[name]] * 2, abs=TOL * 100)


def test_what_is_found_does_not_depend_on_the_points_before() -> None:
    obj = tw.Objective(relu_network(torch.nn.Tanh), F.cross_entropy, cancer(40))
    plane = tw.landscape.random_plane(obj)
    with pointwise(obj, plane, ["lambda_max", "lambda_min"], 2) as measure:
        measure(plane.at([-1.0, 1.0]))
        later = measure(plane.at([0.2, 0.1]))
    with pointwise(obj, plane, ["lambda_max", "lambda_min"], 2) as measure:
        assert measure(plane.at([0.2, 0.1])) == later


def test_where_the_loss_is_not_finite() -> None:
    surface = tw.surfaces.Surface("root", lambda x: x.sum(0).sqrt(), [1.0, 1.0])
    plane = tw.landscape.axis_plane(surface)
    with pointwise(surface, plane, ["loss", "lambda_max"], 1) as measure:
        found = measure(torch.tensor([-1.0, -1.0], dtype=torch.float64))
    assert math.isnan(found["loss"])
    assert math.isnan(found["lambda_max"])


def test_an_unknown_metric() -> None:
    surface = tw.surfaces.rosenbrock()
    with (
        pytest.raises(InvalidArgument, match="did you mean 'lambda_max'"),
        pointwise(surface, tw.landscape.axis_plane(surface), ["lambda_maxx"], 1),
    ):
        pass
