from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg import surfaces
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.surfaces import CriticalPoint, Surface

EPS = torch.finfo(torch.float64).eps


def central_difference(f, x, h):
    """Derivative of f along each coordinate of the last axis of x (b, n), by central differences."""
    steps = h * torch.eye(x.shape[-1], dtype=x.dtype)
    return torch.stack([(f(x + step) - f(x - step)) / (2 * h) for step in steps], dim=-1)


def assert_derivative(f, derivative, x, size):
    """`derivative` against differences of f whose own error bounds the tolerance.

    Halving h divides the truncation error by four, so the change is three times what is left; each of up to
    about a hundred roundings inside f adds eps · |f| / h. `size` bounds |f| around x.
    """
    h = 1e-4
    coarse, fine = central_difference(f, x, h), central_difference(f, x, h / 2)
    tolerance = (coarse - fine).abs() + 200 * EPS * size / h
    assert bool(((derivative - fine).abs() <= tolerance).all())


def test_gradient_is_the_derivative_of_the_loss(surface, scattered):
    x = scattered(surface, 20)
    size = (1 + surface.loss(x).abs())[:, None]
    assert_derivative(surface.loss, surface.gradient(x), x, size)


def test_hessian_is_the_derivative_of_the_gradient(surface, scattered):
    x = scattered(surface, 5)
    size = (1 + surface.gradient(x).abs())[..., None]
    assert_derivative(surface.gradient, surface.hessian(x), x, size)


def test_batch_equals_single_points(surface, scattered):
    x = scattered(surface, 4)
    # Reductions and fused operations may round differently in a batch.
    close = {"rtol": 1e-12, "atol": 1e-12}
    for quantity in (surface.loss, surface.gradient, surface.hessian):
        torch.testing.assert_close(quantity(x), torch.stack([quantity(row) for row in x]), **close)
    assert surface.loss(x).shape == (4,)
    assert surface.gradient(x).shape == x.shape
    assert surface.loss(x[:0]).shape == (0,)


def test_product_equals_dense_hessian(surface, scattered):
    theta = scattered(surface, 1)[0]
    v = torch.randn(surface.size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dense = surface.hessian(theta)
    # Either way sums n products of entries of H and v: n · eps of the largest, and as much inside.
    close = {"rtol": 0, "atol": 100 * surface.size * EPS * (1 + float(dense.abs().max()))}
    torch.testing.assert_close(surface.hvp(v, theta), dense @ v, **close)
    torch.testing.assert_close(surface.hvp(v[:, 0], theta), dense @ v[:, 0], **close)
    with surface.at(theta) as here:
        torch.testing.assert_close(here.hvp(v), dense @ v, **close)
        torch.testing.assert_close(here.loss(), surface.loss(theta))
        torch.testing.assert_close(here.gradient(), surface.gradient(theta), **close)
    assert surface.hvp(v[:, :0], theta).shape == (surface.size, 0)


def test_gauss_newton_product_equals_numerical_jacobian(surface, scattered):
    theta = scattered(surface, 1, seed=2)[0]
    v = torch.randn(surface.size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if surface.residuals is None:
        with pytest.raises(NotDifferentiable, match=f"{surface.name}.*not given as a sum of squares"):
            surface.ggnvp(v, theta)
        return
    residuals = surface.residuals(theta)
    torch.testing.assert_close(0.5 * residuals @ residuals, surface.loss(theta), rtol=1e-12, atol=1e-14)
    jacobian = central_difference(lambda x: surface.residuals(x), theta, 1e-5)
    matrix = jacobian.T @ jacobian
    # Central differences are off by h² = 1e-10 times third derivatives, here at most about 1e5 (cliff).
    close = {"rtol": 0, "atol": 1e-5 * float(matrix.abs().max())}
    torch.testing.assert_close(surface.ggnvp(v, theta), matrix @ v, **close)
    torch.testing.assert_close(surface.ggnvp(v[:, 0], theta), matrix @ v[:, 0], **close)


def test_derivatives_need_no_ambient_gradient_mode():
    surface = surfaces.himmelblau()
    with torch.no_grad():
        gradient = surface.gradient()
        product = surface.ggnvp(torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.tensor([-14.0, -22.0], dtype=torch.float64))
    # JᵀJ at the origin: J = √2 [[0, 1], [1, 0]].
    torch.testing.assert_close(product, torch.full((2,), 2.0, dtype=torch.float64))


def test_result_carries_no_graph(surface):
    theta = surface.point.requires_grad_()
    for result in (surface.loss(theta), surface.gradient(theta), surface.hessian(theta)):
        assert not result.requires_grad
    assert theta.grad is None


def test_point_is_a_copy(surface):
    surface.point.fill_(7.0)
    assert not bool((surface.point == 7.0).all())
    assert surface.point.shape == (surface.size,)


def test_blocks_cover_theta(surface):
    (block,) = surface.blocks
    assert (block.name, block.shape, block.offset) == ("x", (surface.size,), 0)


def test_start_lies_in_the_domain(surface):
    lower, upper = surface.domain.unbind(1)
    assert bool(((lower <= surface.point) & (surface.point <= upper)).all())


def test_another_dtype_gives_the_same_surface(surface, scattered):
    single = surface.to(torch.float32)
    x = scattered(surface, 10)
    assert single.dtype == single.point.dtype == single.domain.dtype == torch.float32
    assert single.loss(x.float()).dtype == torch.float32
    # Rounding x to float32 moves the loss by eps · |x·∇f|, and about a hundred operations round as well.
    moved = (x.abs() * surface.gradient(x).abs()).sum(1) + surface.loss(x).abs() + 1
    difference = (single.loss(x.float()) - surface.loss(x)).abs()
    curvature = 1e-10 * surface.hessian(x).abs().sum((1, 2))
    assert bool((difference <= 100 * torch.finfo(torch.float32).eps * moved + curvature).all())
    assert all(p.location.dtype == torch.float32 for p in single.critical_points)
    assert surface.dtype == torch.float64


def test_dtype_must_be_floating():
    with pytest.raises(InvalidArgument, match=r"dtype must be a floating-point type, got torch\.int64"):
        surfaces.booth().to(torch.int64)


def test_overflow_is_returned():
    loss = surfaces.cliff().loss(torch.tensor([[1e9, 1.0], [0.5, 0.0]], dtype=torch.float64))
    assert loss.isinf().tolist() == [True, False]
    assert surfaces.booth().loss(torch.tensor([torch.nan, 0.0], dtype=torch.float64)).isnan()


def test_fingerprint_tells_surfaces_apart():
    made = [
        surfaces.rosenbrock(),
        surfaces.rosenbrock(b=10),
        surfaces.rosenbrock(3),
        surfaces.rosenbrock().to(torch.float32),
        surfaces.goe(4, seed=0),
        surfaces.goe(4, seed=1),
        Surface("mine", lambda x: x[0] ** 2, [1.0]),
        Surface("mine", lambda x: x[0] ** 4, [1.0]),
    ]
    digests = [surface.fingerprint() for surface in made]
    assert len(set(digests)) == len(made)
    assert digests[0] == surfaces.get("rosenbrock", dim=2).fingerprint()
    assert digests[0] == surfaces.rosenbrock().to(torch.float32).to(torch.float64).fingerprint()


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (torch.zeros(3, dtype=torch.float64), r"theta must have shape \(2,\) or \(b, 2\), got \(3,\)"),
        (torch.zeros(2, 3, dtype=torch.float64), r"shape \(2,\) or \(b, 2\), got \(2, 3\)"),
        (torch.zeros(1, 1, 2, dtype=torch.float64), r"got \(1, 1, 2\)"),
        (torch.zeros(4, 2), r"theta must be torch\.float64 like the objective, got torch\.float32"),
        (np.zeros(2), r"theta must be a torch tensor, got ndarray"),
    ],
)
def test_wrong_points_are_refused(theta, message):
    surface = surfaces.booth()
    for quantity in (surface.loss, surface.gradient, surface.hessian):
        with pytest.raises(ShapeMismatch, match=message):
            quantity(theta)


def test_wrong_vectors_are_refused():
    with pytest.raises(ShapeMismatch, match=r"v must have shape \(2,\) or \(2, k\), got \(3,\)"):
        surfaces.booth().hvp(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ShapeMismatch, match=r"v must have shape"):
        surfaces.booth().ggnvp(torch.zeros(1, dtype=torch.float64))
    with pytest.raises(ShapeMismatch, match=r"theta must have shape \(2,\), got \(4, 2\)"):
        surfaces.booth().at(torch.zeros(4, 2, dtype=torch.float64))


def test_a_surface_of_ones_own():
    surface = Surface(
        "tilted",
        lambda x: (x**4).sum(0) + x[0],
        [1.0, 2.0],
        domain=[(-1.0, 1.0), (-2.0, 2.0)],
        critical=[[-0.63, 0.0], CriticalPoint(torch.zeros(2), 0.0, "saddle", 1)],
    )
    assert surface.domain.tolist() == [[-1.0, 1.0], [-2.0, 2.0]]
    saddle, found = surface.critical_points
    assert saddle.kind == "saddle"
    assert found.location.tolist() == pytest.approx([-(0.25 ** (1 / 3)), 0.0], abs=1e-12)
    # ∂²f/∂y² vanishes there, and no lowest value was given.
    assert (found.kind, found.nullity) == ("degenerate", 1)


def test_a_surface_of_ones_own_is_checked():
    with pytest.raises(ShapeMismatch, match=r"start must have shape \(n,\) with n ≥ 1, got \(2, 1\)"):
        Surface("mine", lambda x: x[0], torch.zeros(2, 1))
    with pytest.raises(ShapeMismatch, match="got"):
        Surface("mine", lambda x: x[0], [])
    with pytest.raises(InvalidArgument, match=r"domain must be \(lower, upper\) or 1 such pairs"):
        Surface("mine", lambda x: x[0], [1.0], domain=(2.0, 1.0))
    wrong = Surface("mine", lambda x: (x**2).sum(0), [1.0], critical=[[3.0]])
    with pytest.raises(InvalidArgument, match=r"critical: \[3.0\] is not near a critical point"):
        _ = wrong.critical_points


def test_parameters_make_the_same_surface(surface):
    again = surfaces.get(surface.name, **surface.parameters)
    assert again.fingerprint() == surface.fingerprint()
    torch.testing.assert_close(again.point, surface.point, rtol=0, atol=0)


def test_repr_is_the_call():
    assert repr(surfaces.rosenbrock(b=10)) == "rosenbrock(dim=2, a=1.0, b=10.0)"
