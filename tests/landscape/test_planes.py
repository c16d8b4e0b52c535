"""Choosing a plane: random, along eigenvectors, the gradient or axes, through points."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import subspace_angles
from torch import Tensor, nn

from landscape.models import cancer, classifier, mixed, relu_network
from thalweg import surfaces
from thalweg.curvature import eigenpairs, hessian
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.landscape import (
    axis_plane,
    eigen_plane,
    evaluate,
    gradient_plane,
    line_through,
    plane_through,
    random_plane,
)
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
        with pytest.raises(InvalidArgument, match="pairs must hold at least the 2 largest eigenvalues"):
            eigen_plane(surface, pairs=pairs)


def dense(network: nn.Module, matrix: str) -> Tensor:
    """The matrix (n, n) at the network's weights on the tumours, by torch.func."""
    x, y = cancer()
    names, weights = zip(*network.named_parameters(), strict=True)

    def outputs(theta: Tensor) -> Tensor:
        pieces = theta.split([w.numel() for w in weights])
        named = {n: p.view_as(w) for n, p, w in zip(names, pieces, weights, strict=True)}
        return torch.func.functional_call(network, named, (x,))

    theta = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    if matrix == "hessian":
        found = torch.func.hessian(lambda t: F.cross_entropy(outputs(t), y))(theta)
    elif matrix == "gradient_covariance":
        each = torch.func.jacrev(lambda t: F.cross_entropy(outputs(t), y, reduction="none"))(theta)
        found = each.T @ each / len(x)
    else:
        jacobian, p = torch.func.jacrev(outputs)(theta), outputs(theta).softmax(1)
        inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        found = torch.einsum("sim,sij,sjn->mn", jacobian, inner, jacobian) / len(x)
    return found.detach()


@pytest.mark.parametrize("matrix", ["hessian", "ggn", "gradient_covariance"])
def test_eigen_planes_of_each_matrix(matrix):
    values, vectors = torch.linalg.eigh(dense(relu_network(nn.Tanh), matrix))
    plane = eigen_plane(classifier(nn.Tanh), matrix)
    found = [plane.facts[f"lambda_{i}"] for i in (1, 2)]
    # Residuals are within 1e-3 of the largest value: so are values, and vectors by the gap to the third.
    assert found == pytest.approx(values.flip(0)[:2].tolist(), abs=1e-3 * float(values[-1]))
    angle = 1e-3 * float(values[-1]) / float(values[-2] - values[-3])
    assert subspace_angles(plane.directions.numpy(), vectors[:, -2:].numpy()).max() < 2 * angle < 0.05
    assert (plane.facts["matrix"], plane.dim) == (matrix, 2)


def test_along_gradient_eigenvectors_single_gradients_are_largest():
    """vᵀCv is the mean square of the samples' slopes along v: no other direction has more."""
    plane = eigen_plane(classifier(nn.Tanh), "gradient_covariance")
    x, y = cancer()
    slopes = []
    for v in [*plane.directions.T, *torch.eye(len(plane.center)).double()[:3]]:
        losses = []
        for h in (-1e-5, 1e-5):
            network = relu_network(nn.Tanh)
            torch.nn.utils.vector_to_parameters(plane.center + h * v, network.parameters())
            losses.append(F.cross_entropy(network(x), y, reduction="none").detach())
        slopes.append(float(((losses[1] - losses[0]) / 2e-5).square().mean()))
    # Central differences are right to h² and eps/h, 1e-10 and 1e-11.
    assert slopes[:2] == pytest.approx([plane.facts["lambda_1"], plane.facts["lambda_2"]], rel=1e-4)
    assert slopes[0] > slopes[1] > max(slopes[2:])


def test_eigen_planes_of_matrices_that_are_none():
    with pytest.raises(InvalidArgument, match=r"matrix must be 'hessian' or .* did you mean 'hessian'"):
        eigen_plane(classifier(), "hesian")
    with pytest.raises(NotDifferentiable):
        eigen_plane(surfaces.himmelblau(), "gradient_covariance")


def test_gradient_planes_hold_the_gradient_and_the_stiffest_direction():
    objective, network = classifier(nn.Tanh), relu_network(nn.Tanh)
    x, y = cancer()
    pieces = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
    gradient = torch.cat([piece.flatten() for piece in pieces])
    plane = gradient_plane(objective)
    assert plane.facts["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-10)
    torch.testing.assert_close(plane.directions[:, 0], gradient / gradient.norm(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        plane.directions.T @ plane.directions, torch.eye(2).double(), atol=1e-12, rtol=0
    )
    values, vectors = torch.linalg.eigh(dense(network, "hessian"))
    assert plane.facts["lambda_1"] == pytest.approx(float(values[-1]), rel=1e-3)
    off = vectors[:, -1] - plane.directions @ (plane.directions.T @ vectors[:, -1])
    assert float(off.norm()) < 1e-3 * float(values[-1] / (values[-1] - values[-2]))
    assert abs(plane.facts["cosine"]) == pytest.approx(
        abs(float(vectors[:, -1] @ gradient / gradient.norm())), abs=1e-3
    )
    # Along the first axis the loss rises with the gradient's norm, along the second it does not.
    step = 1e-5
    for ahead, back, slope in (
        ([step, 0], [-step, 0], float(gradient.norm())),
        ([0, step], [0, -step], 0.0),
    ):
        rise = float(objective.loss(plane.at(ahead)) - objective.loss(plane.at(back)))
        assert rise / (2 * step) == pytest.approx(slope, abs=1e-8)


def test_gradient_planes_of_known_pairs_and_without_one():
    surface = surfaces.quadratic(eigenvalues=torch.linspace(-3, 5, 40, dtype=torch.float64))
    with hessian(surface) as operator:
        both, low = eigenpairs(operator, 4, "both"), eigenpairs(operator, 4, "smallest")
    center = torch.ones(40, dtype=torch.float64)
    assert gradient_plane(surface, center=center, pairs=both).facts["lambda_1"] == pytest.approx(5, abs=1e-2)
    with pytest.raises(InvalidArgument, match="pairs must hold at least the largest eigenvalue"):
        gradient_plane(surface, center=center, pairs=low)
    with pytest.raises(InvalidArgument, match="finite and not zero, got one of norm 0"):
        gradient_plane(surface, center=torch.zeros(40, dtype=torch.float64))
    with pytest.raises(InvalidArgument, match="does not lie along the top eigenvector"):
        gradient_plane(surface, center=both.vectors[:, 0])


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
        eigen_plane(objective, "ggn"),
        eigen_plane(objective, "gradient_covariance"),
        gradient_plane(objective),
        axis_plane(objective),
        plane_through(point, point + 1, 2 * point),
        line_through(point, point + 1),
    ):
        assert plane.limits
        assert len(plane.labels) == len(plane.extent) == plane.dim
