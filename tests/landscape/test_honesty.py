"""What slices hide, on surfaces where it is known and on a small network against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import thalweg as tw
from landscape.models import cancer, relu_network
from thalweg.landscape.honesty import honesty


def bowl(*scales: float) -> tw.surfaces.Surface:
    weights = torch.tensor(scales, dtype=torch.float64)

    def formula(x: torch.Tensor) -> torch.Tensor:
        return sum(w * x[i] ** 2 / 2 for i, w in enumerate(weights.tolist()))

    return tw.surfaces.Surface("bowl", formula, [1.0] * len(scales))


def test_a_plane_of_two_axes() -> None:
    surface = bowl(100.0, 4.0, 3.0, -2.0)
    found = honesty(surface, tw.landscape.axis_plane(surface, (1, 2)))
    assert found.in_plane.tolist() == pytest.approx([4, 3])
    assert found.largest.tolist() == pytest.approx([100, 4, 3])
    assert found.smallest == pytest.approx(-2)
    assert found.angles.tolist() == pytest.approx([90, 0, 0], abs=1e-4)
    assert found.random_angle == pytest.approx(45)
    assert "3 to 4" in str(found)
    assert "90.0°, 0.0°" in str(found)


def test_directions_need_not_be_orthonormal() -> None:
    surface = bowl(100.0, 4.0, 3.0)
    a, b, c = torch.zeros(3), torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 1.0, 5.0])
    plane = tw.landscape.plane_through(a.double(), b.double(), c.double())
    assert honesty(surface, plane).in_plane.tolist() == pytest.approx([4, 3])


def test_a_network_against_its_dense_hessian() -> None:
    obj = tw.Objective(relu_network(), F.cross_entropy, cancer(60))
    plane = tw.landscape.random_plane(obj)
    found = honesty(obj, plane)
    matrix = tw.curvature.hessian(obj).dense()
    values, vectors = torch.linalg.eigh(matrix)
    basis = torch.linalg.qr(plane.directions).Q
    assert found.in_plane.tolist() == pytest.approx(
        torch.linalg.eigvalsh(basis.T @ matrix @ basis).flip(0).tolist()
    )
    assert found.largest.tolist() == pytest.approx(values.flip(0)[:3].tolist(), rel=0.01)
    shown = (basis.T @ vectors[:, -1]).norm()
    assert float(found.angles[0]) == pytest.approx(math.degrees(math.acos(float(shown))), abs=1)
    losses = F.cross_entropy(obj.model(cancer(60)[0]), cancer(60)[1], reduction="none")
    assert found.loss_error == pytest.approx(float(losses.std()) / 60**0.5)
    assert found.limits == plane.limits
    # Known eigenpairs are taken as they are.
    with tw.curvature.hessian(obj) as operator:
        pairs = tw.curvature.eigenpairs(operator, 4, "both")
    again = honesty(obj, plane, pairs=pairs)
    assert again.largest.tolist() == pairs.values[:2].tolist()
    assert again.smallest == float(pairs.values[-1])


def test_a_trajectory_has_what_it_explains() -> None:
    obj = tw.Objective(relu_network(), F.cross_entropy, cancer(60))
    draw = torch.Generator().manual_seed(0)
    points = [obj.point + 0.1 * torch.randn(obj.size, generator=draw, dtype=torch.float64) for _ in range(5)]
    plane = tw.landscape.trajectory_plane(obj, points)
    found = honesty(obj, plane)
    assert found.variance_explained == plane.facts["variance_explained"]
    assert found.largest_distance == plane.facts["largest_distance"]
