"""Trajectory-informed planes against scikit-learn's principal components, and what their paper says they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import Tensor

from landscape.models import cancer, relu_network
from landscape.test_trajectory_plane import curve, flat
from thalweg import surfaces
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import (
    evaluate,
    fitting_error,
    random_plane,
    trajectory_informed_plane,
    trajectory_plane,
)
from thalweg.objective import Objective


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("count", "n", "center"), [(3, 200, 0), (25, 200, -1), (25, 200, 7), (60, 10, 30)])
def test_principal_components(count, n, center, dtype, tolerance):
    points = torch.from_numpy(curve(count, n)).to(dtype)
    plane = trajectory_informed_plane(flat(n, dtype), list(points), center=points[center])
    known = PCA(2, svd_solver="full").fit(points.double().numpy())
    ratio = known.singular_values_[0] / known.singular_values_[1]
    # Rounding is magnified by the squared ratio of the singular values.
    assert ratio < 12
    assert subspace_angles(plane.directions.double().numpy(), known.components_.T).max() < 150 * tolerance
    for i in (0, 1):
        due = known.explained_variance_ratio_[i]
        assert plane.facts[f"variance_explained_{i + 1}"] == pytest.approx(due, abs=tolerance)
        cosine = plane.directions[:, i].double().numpy() @ known.components_[i]
        assert abs(cosine) == pytest.approx(float(points[center].norm()), rel=10 * tolerance)
    gram = (plane.directions.T @ plane.directions).double() / points[center].double().norm() ** 2
    assert float((gram - torch.eye(2)).abs().max()) < 10 * tolerance
    assert torch.equal(plane.center, points[center])
    # Coordinates and distances are those of the nearest points of the plane; in it a step of 1 is ‖center‖ long.
    coordinates, away = plane.project(points)
    np.testing.assert_allclose(plane.path.numpy(), coordinates.numpy(), rtol=0, atol=50 * tolerance)
    scale = float((points - points[center]).norm(dim=1).max())
    np.testing.assert_allclose(plane.distances.numpy(), away.numpy(), rtol=0, atol=100 * tolerance * scale)
    assert plane.path[center].abs().max() < 10 * tolerance


def test_the_extent_is_one_or_holds_the_path():
    points = torch.from_numpy(curve(20, 50))
    near = trajectory_informed_plane(flat(50), list(points))
    wide = trajectory_informed_plane(flat(50), list(points), center=points[-1] / 50)
    for plane in (near, wide):
        for axis, (low, high) in enumerate(plane.extent):
            assert low == -high <= -1
            assert high > float(plane.path[:, axis].abs().max())
    assert near.extent == ((-1, 1), (-1, 1))
    assert wide.extent[0][1] > 5


@pytest.mark.parametrize("held", [1, 2, 5, 8])
def test_a_path_of_which_few_points_are_held(held):
    points = torch.from_numpy(curve(23, 300))

    class OnDisk:
        def __len__(self):
            return len(points)

        def __getitem__(self, position):
            return points[position].clone()

    whole = trajectory_informed_plane(flat(300), list(points), center=points[4])
    found = trajectory_informed_plane(flat(300), OnDisk(), center=points[4], memory=held * 300 * 8)
    assert subspace_angles(found.directions.numpy(), whole.directions.numpy()).max() < 1e-9
    assert found.facts["variance_explained"] == pytest.approx(whole.facts["variance_explained"])
    np.testing.assert_allclose(found.distances.numpy(), whole.distances.numpy(), atol=1e-9)


@pytest.mark.parametrize("count", [3, 4, 10, 51])
def test_the_random_walk_is_the_spectrum_of_its_centered_products(count):
    points = torch.from_numpy(curve(count, 60))
    found = trajectory_informed_plane(flat(60), list(points)).facts["random_walk_explains"]
    # Sums of i unit steps that are orthogonal to each other: the products are min(i, j), less their means.
    index = np.arange(count)
    walk = np.minimum(index[:, None], index[None]).astype(float)
    centering = np.eye(count) - 1 / count
    values = np.linalg.eigvalsh(centering @ walk @ centering)
    assert found == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-10)


def test_a_long_random_walk_explains_three_quarters():
    """6/π² (1 + 1/4) = 76.0 %, in the limit of many steps (Antognini & Sohl-Dickstein 2018)."""
    found = trajectory_informed_plane(flat(12), list(torch.from_numpy(curve(800, 12))))
    assert found.facts["random_walk_explains"] == pytest.approx(6 / np.pi**2 * 1.25, abs=1e-3)
    assert any("76 %" in sentence for sentence in found.limits)


def trained(steps: int = 40) -> tuple[Objective, list[Tensor]]:
    """A ReLU network on 100 tumours at its initialization, and its path from there, by full-batch Adam."""
    x, y = cancer()
    network = relu_network()
    objective = Objective(relu_network(), torch.nn.functional.cross_entropy, (x, y))
    path, adam = [objective.point], torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(steps):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        adam.step()
        path.append(torch.nn.utils.parameters_to_vector(network.parameters()).detach())
    return objective, path


def test_around_the_start_it_shows_the_way_down():
    """What the paper's figures 2 to 4 show: around the initialization a random plane has no way down, this one has."""
    objective, path = trained()
    start, end = (float(objective.loss(path[k])) for k in (0, -1))
    assert end < 0.2 * start
    shown, drawn = (
        evaluate(objective, plane, 21, rtol=None).values["loss"].min()
        for plane in (
            trajectory_informed_plane(objective, path, center=path[0]),
            random_plane(objective, center=path[0]),
        )
    )
    assert shown < 0.1 * start
    assert drawn > 0.8 * start


def test_the_fitting_error_is_below_that_of_a_random_plane():
    """What the paper's table 1 says, here of a small network."""
    objective, path = trained()
    informed = fitting_error(objective, trajectory_informed_plane(objective, path), path)
    principal = fitting_error(objective, trajectory_plane(objective, path), path)
    drawn = fitting_error(objective, random_plane(objective, center=path[-1]), path)
    assert informed.value < 0.05 * drawn.value
    assert principal.value < 0.05 * drawn.value
    # In a random plane the whole path falls on its end.
    np.testing.assert_allclose(drawn.projected.log(), float(drawn.losses[-1].log()), atol=1.0)


def test_the_fitting_error_of_a_quadratic():
    surface = surfaces.quadratic(eigenvalues=torch.tensor([1.0, 2.0, 5.0, 10.0], dtype=torch.float64))
    center = torch.zeros(4, dtype=torch.float64)
    plane = trajectory_informed_plane(
        surface,
        [torch.tensor(p, dtype=torch.float64) for p in ([3.0, 0, 0, 0], [0.0, 1, 0, 0], [-3.0, -1, 0, 0])],
        center=center + torch.tensor([0.0, 0, 1, 0]),
    )
    # The plane is x₃ = 1, x₄ = 0: what a point has there is replaced.
    points = torch.tensor([[1.0, 2.0, 0.5, 0.25], [2.0, -1.0, 3.0, 0.0]], dtype=torch.float64)
    flattened = points.clone()
    flattened[:, 2:] = torch.tensor([1.0, 0.0])
    rates = np.array([1.0, 2.0, 5.0, 10.0])
    basis = _axes(surface)
    found = fitting_error(surface, plane, list(points))
    due, seen = ((0.5 * (np.square(p.numpy() @ basis) * rates)).sum(axis=1) for p in (points, flattened))
    np.testing.assert_allclose(found.losses, due, rtol=1e-12)
    np.testing.assert_allclose(found.projected, seen, rtol=1e-12)
    assert found.value == pytest.approx(np.mean(np.log(due / seen) ** 2), rel=1e-10)
    assert str(found).startswith("fitting error ")


def _axes(surface: surfaces.Surface) -> np.ndarray:
    """The eigenvectors of a quadratic surface's Hessian as columns, ascending."""
    hessian = surface.hvp(torch.eye(4, dtype=torch.float64)).numpy()
    return np.linalg.eigh(hessian)[1]


def test_points_that_make_no_path():
    objective = flat(4)
    point = torch.arange(4, dtype=torch.float64)
    for few in ([], [point], [point, point + 1]):
        with pytest.raises(InvalidArgument, match=f"at least 3 points to span a plane, got {len(few)}"):
            trajectory_informed_plane(objective, few)
    path = [point, point**2, point**3]
    for same in ([point] * 5, [point * k for k in range(1, 6)]):
        with pytest.raises(InvalidArgument, match="do not span a plane"):
            trajectory_informed_plane(objective, same)
    with pytest.raises(InvalidArgument, match="center must be finite and not zero, got a vector of norm 0"):
        trajectory_informed_plane(objective, path, center=torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ShapeMismatch, match="theta must have shape"):
        trajectory_informed_plane(objective, path, center=point[:3])
    plane = trajectory_informed_plane(objective, path)
    with pytest.raises(
        InvalidArgument, match=r"checkpoints\[1\] and its projection must have losses above zero"
    ):
        fitting_error(objective, plane, [point, 0 * point])
    with pytest.raises(InvalidArgument, match="at least one point"):
        fitting_error(objective, plane, [])
