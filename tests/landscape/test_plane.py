"""The geometry of a plane: coordinates to points and back, and its grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import Plane

EPS = np.finfo(float).eps


def plane(n=12, dim=2, seed=0, extent=(-1.0, 1.0)):
    """A plane through a random point along random directions, neither orthogonal nor of one length."""
    draw = torch.Generator().manual_seed(seed)
    center = torch.randn(n, generator=draw, dtype=torch.float64)
    directions = torch.randn(n, dim, generator=draw, dtype=torch.float64)
    directions[:, 0] *= 3
    return Plane(center, directions, (extent,) * dim, "test", ("a", "b")[:dim])


coordinate = st.floats(-100, 100)


@settings(max_examples=60, deadline=None)
@given(
    coordinates=st.lists(coordinate, min_size=1, max_size=2), seed=st.integers(0, 1000), n=st.integers(4, 40)
)
def test_projecting_a_point_of_the_plane_gives_its_coordinates(coordinates, seed, n):
    p = plane(n, len(coordinates), seed)
    found, distances = p.project(p.at(coordinates)[None])
    # The point is right to eps times its size; the way back magnifies that by the directions' condition.
    condition = float(torch.linalg.cond(p.directions))
    size = float(p.center.norm() + p.at(coordinates).norm())
    bound = 20 * EPS * size * condition / float(torch.linalg.svdvals(p.directions)[-1])
    assert found.shape == (1, len(coordinates))
    assert np.abs(found[0].numpy() - coordinates).max() <= bound + 1e-300
    assert float(distances[0]) <= 20 * EPS * size * condition


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), away=st.floats(1e-3, 1e3))
def test_distances_are_to_the_nearest_point(seed, away):
    p = plane(seed=seed)
    basis = np.linalg.qr(np.column_stack([p.directions.numpy(), np.ones(12)]))[0]
    point = p.at([0.3, -2.0]) + away * torch.from_numpy(basis[:, 2])
    found, distances = p.project(point[None])
    assert float(distances[0]) == pytest.approx(away, rel=1e-9)
    assert found[0].tolist() == pytest.approx([0.3, -2.0], abs=1e-10 * max(away, 1))


def test_points_are_affine_in_the_coordinates():
    p = plane()
    for a, b in [(0.0, 0.0), (1.0, 0.0), (0.5, -2.5)]:
        expected = p.center.numpy() + a * p.directions[:, 0].numpy() + b * p.directions[:, 1].numpy()
        np.testing.assert_allclose(p.at([a, b]).numpy(), expected, rtol=0, atol=10 * EPS * 10)
    assert torch.equal(p.at([0.0, 0.0]), p.center)


@settings(max_examples=60, deadline=None)
@given(resolution=st.integers(3, 201), span=st.floats(1e-3, 1e3))
def test_axes_are_symmetric_and_odd_ones_hit_the_center(resolution, span):
    axis = plane(dim=1, extent=(-0.7, 0.7)).axes(resolution, span)["alpha"].numpy()
    assert len(axis) == resolution
    assert np.array_equal(axis, -axis[::-1])
    assert axis[-1] == pytest.approx(0.7 * span, rel=4 * EPS)
    assert np.diff(axis) == pytest.approx(2 * 0.7 * span / (resolution - 1), rel=1e-9)
    if resolution % 2:
        assert axis[resolution // 2] == 0


def test_axes_of_an_extent_that_is_not_symmetric():
    p = Plane(torch.zeros(3), torch.eye(3)[:, :2], ((-0.25, 1.25), (2.0, 6.0)), "test", ("a", "b"))
    axes = p.axes([7, 5], 1.0)
    assert list(axes) == ["alpha", "beta"]
    np.testing.assert_allclose(axes["alpha"], np.linspace(-0.25, 1.25, 7), rtol=0, atol=1e-15)
    np.testing.assert_allclose(axes["beta"], [2, 3, 4, 5, 6], rtol=0, atol=1e-15)
    # The span is a factor about the middle.
    np.testing.assert_allclose(p.axes(5, 2.0)["beta"], [0, 2, 4, 6, 8], rtol=0, atol=1e-15)


@pytest.mark.parametrize("resolution", [0, 1, 2, -5, (5, 2), (5,), (5, 5, 5)])
def test_resolutions_that_make_no_grid(resolution):
    with pytest.raises(InvalidArgument, match="resolution must be at least 3 along each of 2 axes, got"):
        plane().axes(resolution, 1.0)


@pytest.mark.parametrize("span", [0.0, -1.0, float("nan"), float("inf")])
def test_spans_that_make_no_grid(span):
    with pytest.raises(InvalidArgument, match=f"span must be positive and finite, got {span}"):
        plane().axes(5, span)


def test_points_and_coordinates_of_another_shape():
    p = plane()
    for shape in ((12,), (3, 11), (3, 1), (2, 12, 1)):
        with pytest.raises(ShapeMismatch, match=r"points must have shape \(t, 12\), got"):
            p.project(torch.zeros(shape, dtype=torch.float64))
    for coordinates in ([1.0], [1.0, 2.0, 3.0], 1.0):
        with pytest.raises(ShapeMismatch, match=r"coordinates must have shape \(2,\), got"):
            p.at(coordinates)
