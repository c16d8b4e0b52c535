"""Trajectory planes against NumPy's singular value decomposition and against random walks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from thalweg import surfaces
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import trajectory_plane


def flat(n, dtype=torch.float64):
    """An objective of n dimensions: a plane of a path asks it for nothing but their number."""
    return surfaces.Surface("flat", lambda x: (x**2).sum(0), torch.zeros(n, dtype=torch.float64)).to(dtype)


def curve(count, n, seed=0):
    """Points along a smooth, noisy path, far from the origin."""
    draw = np.random.default_rng(seed)
    t = np.linspace(0, 2, count)[:, None]
    path = 5 * t * draw.normal(size=n) + np.sin(3 * t) * draw.normal(size=n) + t**3 * draw.normal(size=n)
    return 10 + path + 0.05 * draw.normal(size=(count, n))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("count", "n"), [(3, 200), (25, 200), (60, 10)])
def test_principal_directions(count, n, dtype, tolerance):
    points = torch.from_numpy(curve(count, n)).to(dtype)
    plane = trajectory_plane(flat(n, dtype), list(points))
    offsets = (points - points[-1]).double().numpy()
    _, singular, right = np.linalg.svd(offsets, full_matrices=False)
    share = singular**2 / (singular**2).sum()
    # The second singular value is a twentieth of the first or more: rounding is magnified by 20² at most.
    assert singular[1] > singular[0] / 20
    assert subspace_angles(plane.directions.double().numpy(), right[:2].T).max() < 400 * tolerance
    assert plane.facts["variance_explained_1"] == pytest.approx(share[0], abs=tolerance)
    assert plane.facts["variance_explained_2"] == pytest.approx(share[1], abs=tolerance)
    assert plane.facts["variance_explained"] == pytest.approx(share[0] + share[1], abs=tolerance)
    away = np.linalg.norm(offsets - offsets @ right[:2].T @ right[:2], axis=1)
    scale = np.abs(offsets).max() * n**0.5
    np.testing.assert_allclose(plane.distances.numpy(), away, rtol=0, atol=50 * tolerance * scale)
    assert plane.facts["largest_distance"] == pytest.approx(away.max(), abs=50 * tolerance * scale)
    coordinates, distances = plane.project(points)
    np.testing.assert_allclose(plane.path.numpy(), coordinates.numpy(), rtol=0, atol=50 * tolerance * scale)
    np.testing.assert_allclose(
        plane.distances.numpy(), distances.numpy(), rtol=0, atol=50 * tolerance * scale
    )
    gram = plane.directions.T @ plane.directions
    assert float((gram - torch.eye(2)).abs().max()) < 10 * tolerance
    assert torch.equal(plane.center, points[-1])
    assert plane.path[-1].tolist() == [0, 0]


def test_the_extent_holds_the_path():
    points = torch.from_numpy(curve(20, 50))
    plane = trajectory_plane(flat(50), list(points))
    for axis, (low, high) in enumerate(plane.extent):
        assert low < float(plane.path[:, axis].min())
        assert high > float(plane.path[:, axis].max())


def test_a_random_walk_explains_what_the_reference_says():
    """In n dimensions the shares of a walk scatter by about √(T/n), here 4 %; its mean over walks by less."""
    count, n = 30, 20_000
    shares = []
    for seed in range(4):
        steps = np.random.default_rng(seed).normal(size=(count, n))
        plane = trajectory_plane(flat(n), list(torch.from_numpy(steps.cumsum(0))))
        shares.append(plane.facts["variance_explained"])
    assert np.mean(shares) == pytest.approx(plane.facts["random_walk_explains"], abs=0.02)


@pytest.mark.parametrize("count", [3, 4, 10, 51])
def test_the_reference_is_the_spectrum_of_the_walks_gram_matrix(count):
    points = torch.from_numpy(curve(count, 60))
    found = trajectory_plane(flat(60), list(points)).facts["random_walk_explains"]
    # Steps of unit length, pairwise orthogonal, measured from the last point: the inner products are min(i, j).
    index = np.arange(1, count)
    values = np.linalg.eigvalsh(np.minimum(index[:, None], index[None]).astype(float))
    assert found == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-10)


def test_a_long_random_walk_explains_ninety_percent():
    """8/π² (1 + 1/9) = 90.06 %: the known share, in the limit of many steps (from below by about 1/T)."""
    points = torch.from_numpy(curve(800, 12))
    found = trajectory_plane(flat(12), list(points)).facts["random_walk_explains"]
    assert found == pytest.approx(8 / np.pi**2 * (1 + 1 / 9), abs=2 / 800)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1000.0])
def test_paths_on_a_line_span_no_plane(dtype, offset):
    draw = torch.Generator().manual_seed(0)
    start, direction = torch.randn(2, 300, generator=draw, dtype=torch.float64)
    points = [(offset * start + t * direction).to(dtype) for t in np.linspace(0, 1, 12)]
    with pytest.raises(InvalidArgument, match="do not span a plane: they lie on one line, or coincide"):
        trajectory_plane(flat(300, dtype), points)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_slight_bend_spans_one(dtype):
    draw = torch.Generator().manual_seed(0)
    direction, across = torch.randn(2, 300, generator=draw, dtype=torch.float64)
    points = [(t * direction + 3e-4 * t**2 * across).to(dtype) for t in np.linspace(0, 1, 12)]
    plane = trajectory_plane(flat(300, dtype), points)
    # The share of the second direction goes as the bend squared.
    assert 1e-10 < plane.facts["variance_explained_2"] < 1e-6


def test_points_that_make_no_path():
    objective = flat(4)
    point = torch.arange(4, dtype=torch.float64)
    for few in ([], [point], [point, point + 1]):
        with pytest.raises(InvalidArgument, match=f"at least 3 points to span a plane, got {len(few)}"):
            trajectory_plane(objective, few)
    with pytest.raises(InvalidArgument, match="do not span a plane"):
        trajectory_plane(objective, [point] * 5)
    with pytest.raises(ShapeMismatch, match=r"checkpoints\[1\] must be a vector \(4,\), got shape \(3,\)"):
        trajectory_plane(objective, [point, point[:3], point + 1])
    with pytest.raises(ShapeMismatch, match="theta must have shape"):
        trajectory_plane(objective, [torch.arange(5.0).double() * k for k in range(4)])
    for bad in (float("nan"), float("inf")):
        broken = point.clone()
        broken[2] = bad
        with pytest.raises(InvalidArgument, match=r"checkpoints\[1\] must be finite"):
            trajectory_plane(objective, [point, broken, point + 1])


@pytest.mark.parametrize("held", [1, 2, 5, 8])
def test_a_path_of_which_few_points_are_held(held):
    points = torch.from_numpy(curve(23, 300))
    read = []

    class OnDisk:
        def __len__(self):
            return len(points)

        def __getitem__(self, position):
            read.append(position)
            return points[position].clone()

    whole = trajectory_plane(flat(300), list(points))
    found = trajectory_plane(flat(300), OnDisk(), memory=held * 300 * 8)
    assert subspace_angles(found.directions.numpy(), whole.directions.numpy()).max() < 1e-9
    assert found.facts["variance_explained"] == pytest.approx(whole.facts["variance_explained"])
    np.testing.assert_allclose(found.distances.numpy(), whole.distances.numpy(), atol=1e-9)
    # Once for each block of the Gram matrix, and twice more.
    blocks = -(-22 // max(1, held // 2))
    assert len(read) <= 22 * (blocks / 2 + 3) + 1
