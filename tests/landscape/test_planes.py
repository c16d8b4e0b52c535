"""Choosing a plane: random, along eigenvectors or axes, through points."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.models import classifier, mixed
from thalweg import surfaces
from thalweg.curvature import eigenpairs, hessian
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import axis_plane, eigen_plane, evaluate, line_through, plane_through, random_plane
from thalweg.landscape import random_line as draw_line

EPS = torch.finfo(torch.float64).eps


def test_random_planes_follow_their_seed_alone():
    objective = classifier()
    before = torch.random.get_rng_state()
    first, again, other = (random_plane(objective, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.directions, again.directions)
    assert not torch.equal(first.directions, other.directions)
    torch.manual_seed(123)
    assert torch.equal(random_plane(objective, seed=1).directions, first.directions)
    torch.random.set_rng_state(before)


def test_random_planes_go_through_the_point_or_another():
    objective = classifier()
    assert torch.equal(random_plane(objective).center, objective.point)
    elsewhere = objective.point + 1
    assert torch.equal(random_plane(objective, center=elsewhere).center, elsewhere)
    line = draw_line(objective, seed=4)
    assert (line.dim, line.directions.shape) == (1, (objective.size, 1))
    # Two Gaussian directions of n = 316 entries are nearly orthogonal: cos is below 5/√n.
    one, two = random_plane(objective, "none").directions.T
    assert abs(float(one @ two)) < 5 / objective.size**0.5


def test_random_planes_say_what_they_hold_fixed():
    held = 3 + 3 + 3 + 4
    objective = mixed()
    assert any(f"{held} of {objective.size} parameters" in text for text in random_plane(objective).limits)
    assert not any("held fixed" in text for text in random_plane(objective, "layer").limits)
    with pytest.raises(InvalidArgument, match="dim must be 1 or 2, got 3"):
        random_plane(objective, dim=3)
    with pytest.raises(ShapeMismatch, match="theta must have shape"):
        random_plane(objective, center=torch.zeros(3, dtype=torch.float64))


def test_eigen_planes_curve_as_their_eigenvalues_say():
    objective = classifier(nn.Tanh)
    plane = eigen_plane(objective)
    with objective.at(objective.point) as here:
        for axis, name in enumerate(("lambda_1", "lambda_2")):
            step = 1e-3
            offset = [0.0, 0.0]
            losses = []
            for h in (-step, 0.0, step):
                offset[axis] = h
                losses.append(float(objective.loss(plane.at(offset))))
            second = (losses[0] - 2 * losses[1] + losses[2]) / step**2
            # Truncation is step²/12 fourth derivatives, rounding 4 eps L / step², both near 1e-9; the
            # eigenvector is right to 1e-3, so its Rayleigh quotient is to 1e-6 of the largest.
            assert second == pytest.approx(float(plane.facts[name]), abs=1e-5 * plane.facts["lambda_1"])
            v = plane.directions[:, axis]
            assert float(v @ here.hvp(v)) == pytest.approx(float(plane.facts[name]), rel=1e-9)
    assert plane.facts["lambda_1"] > plane.facts["lambda_2"]
    torch.testing.assert_close(
        plane.directions.T @ plane.directions, torch.eye(2).double(), atol=1e-12, rtol=0
    )


def test_eigen_planes_of_known_pairs():
    surface = surfaces.quadratic(eigenvalues=torch.linspace(-3, 5, 40, dtype=torch.float64))
    with hessian(surface) as operator:
        both = eigenpairs(operator, 4, "both")
        poor = [eigenpairs(operator, 2, "both"), eigenpairs(operator, 4, "smallest"), eigenpairs(operator, 1)]
    plane = eigen_plane(surface, pairs=both)
    assert plane.facts["lambda_2"] == pytest.approx(5 - 8 / 39, abs=1e-2)
    for pairs in poor:
        with pytest.raises(InvalidArgument, match="pairs must hold at least the two largest eigenvalues"):
            eigen_plane(surface, pairs=pairs)


def test_axis_planes_show_a_two_dimensional_surface_whole():
    surface = surfaces.himmelblau()
    plane = axis_plane(surface, domain=surface.domain)
    found = evaluate(surface, plane, 5)
    for i, x in enumerate((-5.0, -2.5, 0.0, 2.5, 5.0)):
        for j, y in enumerate((-5.0, -2.5, 0.0, 2.5, 5.0)):
            exact = (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2
            assert found.values["loss"][i, j] == pytest.approx(exact, rel=1e-12, abs=1e-10)


def test_axis_planes_that_are_none():
    surface = surfaces.rosenbrock()
    for axes, message in (((0, 2), "axes must be below the dimension 2, got 2"), ((1, 1), "got 1 twice")):
        with pytest.raises(InvalidArgument, match=message):
            axis_plane(surface, axes)


def test_a_plane_through_three_points_holds_them():
    a, b, c = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plane = plane_through(a, b, c)
    for coordinates, point in (([0, 0], a), ([1, 0], b), ([0, 1], c)):
        torch.testing.assert_close(plane.at(coordinates), point, rtol=0, atol=10 * EPS)
    torch.testing.assert_close(plane.project(torch.stack([a, b, c]))[0], plane.path, rtol=0, atol=1e-13)
    assert plane.facts["distance_ab"] == pytest.approx(float((a - b).norm()))
    assert plane.facts["distance_ac"] == pytest.approx(float((a - c).norm()))


def test_a_line_through_two_points_ends_in_them():
    a, b = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    line = line_through(a, b)
    assert torch.equal(line.at([0.0]), a)
    torch.testing.assert_close(line.at([1.0]), b, rtol=0, atol=10 * EPS)
    torch.testing.assert_close(line.at([0.5]), (a + b) / 2, rtol=0, atol=10 * EPS)
    # -0.25 to 1.25 in seven points: the second is a, the last but one b.
    assert line.axes(7, 1.0)["alpha"].tolist() == pytest.approx(
        [-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25], abs=1e-15
    )


def test_points_that_do_not_fit_each_other():
    a, short = torch.zeros(5), torch.zeros(4)
    with pytest.raises(ShapeMismatch, match=r"b must be a vector \(5,\), got shape \(4,\)"):
        line_through(a, short)
    with pytest.raises(ShapeMismatch, match=r"c must be a vector \(5,\), got shape \(5, 1\)"):
        plane_through(a, a + 1, a[:, None])
    with pytest.raises(ShapeMismatch, match="a must be a vector"):
        line_through(torch.tensor(1.0), torch.tensor(1.0))


def test_every_plane_says_what_it_cannot_show():
    objective = classifier()
    point = objective.point
    for plane in (
        random_plane(objective),
        eigen_plane(objective),
        axis_plane(objective),
        plane_through(point, point + 1, point - 2),
        line_through(point, point + 1),
    ):
        assert plane.limits
        assert len(plane.labels) == len(plane.extent) == plane.dim
