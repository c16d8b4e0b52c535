"""The search by products alone finds what the dense one finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.curvature.critical.landscapes import sloping_fold
from tests.curvature.spectra import rotated

from thalweg import surfaces
from thalweg.curvature import SymmetricOperator
from thalweg.curvature.critical import certificate, search
from thalweg.curvature.critical.classification import classify
from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.curvature.critical.krylov_search import INNER, krylov_search, krylov_space
from thalweg.curvature.critical.search import critical_points
from thalweg.curvature.critical.starts import in_box
from thalweg.objective import Objective

METHODS = ["newton", "gradient-norm"]


def system(size=30, seed=0):
    draw = torch.Generator().manual_seed(seed)
    matrix = rotated(torch.linspace(-2, 3, size, dtype=torch.float64), seed)
    return matrix, torch.randn(size, generator=draw, dtype=torch.float64)


def test_the_space_holds_the_products():
    """HV = V₊T with orthonormal columns, the first along g; and g + Hp and its norm are what they are said to be."""
    matrix, slope = system()
    operator = SymmetricOperator.of(matrix)
    space = krylov_space(operator, slope, 1e9, 12)
    count = space.projected.shape[1]
    columns = space.basis.leading[:, : count + 1]
    assert torch.allclose(columns.T @ columns, torch.eye(count + 1).double(), atol=1e-13)
    assert torch.allclose(matrix @ columns[:, :-1], columns @ space.projected, atol=1e-13)
    assert operator.products == count
    local = space.least_squares(0.5)
    step = space.step(local)
    assert step.length == pytest.approx(float(step.vector.norm()))
    assert torch.allclose(step.promised, slope + matrix @ step.vector, atol=1e-12)
    assert space.left(local) == pytest.approx(float(step.promised.norm() / slope.norm()))
    assert space.flatness == pytest.approx(
        float((matrix @ slope).norm() / slope.norm()) / space.largest, rel=1e-9
    )


def test_a_whole_space_gives_newtons_step():
    matrix, slope = system(8)
    space = krylov_space(SymmetricOperator.of(matrix), slope, 1e9, 60)
    exact = torch.linalg.solve(matrix, -slope)
    for local in (space.least_squares(1e9), space.newton(1e9)):
        assert torch.allclose(space.step(local).vector, exact, rtol=1e-8)


def test_no_step_in_the_space_is_better():
    matrix, slope = system()
    space = krylov_space(SymmetricOperator.of(matrix), slope, 0.3, 12)
    best = space.left(space.least_squares(0.3))
    draw = torch.Generator().manual_seed(1)
    for _ in range(200):
        other = torch.randn(space.projected.shape[1], generator=draw, dtype=torch.float64)
        assert space.left(0.3 * other / other.norm()) >= best * (1 - 1e-9)


def test_an_invariant_space_is_small():
    """g in the span of two eigenvectors: two columns are all, and the step is exact."""
    matrix = torch.diag(torch.tensor([3.0, -1.0, 5.0, 7.0], dtype=torch.float64))
    slope = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    operator = SymmetricOperator.of(matrix)
    space = krylov_space(operator, slope, 1e9, 60)
    assert operator.products == 2
    assert space.step(space.newton(1e9)).vector.tolist() == pytest.approx([-1 / 3, 1, 0, 0], abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_points_of_a_surface(method, monkeypatch):
    monkeypatch.setattr(search, "DENSE_UP_TO", 1)
    found = critical_points(surfaces.himmelblau(), 32, method=method)
    assert len(found) >= 8
    assert found.products > 0
    # Hessians only at the points found, to classify them.
    assert found.hessians == 3 * len(found)
    assert (found.gradient_norms < 1e-11).all()


def test_impostors(monkeypatch):
    monkeypatch.setattr(search, "DENSE_UP_TO", 1)
    found = critical_points(sloping_fold(), 16, method="gradient-norm", max_steps=60)
    assert len(found) == 0
    assert found.failures["impostor"] >= 14


@pytest.mark.parametrize("method", METHODS)
def test_above_the_dense_limits(method):
    """A quadratic of 600 dimensions, three of them downhill."""
    eigenvalues = torch.cat([torch.linspace(-3, -2, 3), torch.linspace(1, 2, 597)]).double()
    bowl = surfaces.quadratic(eigenvalues=eigenvalues)
    found = critical_points(bowl, 2, method=method)
    assert len(found) == 1
    assert found.hits.tolist() == [2]
    assert found.hessians == 0
    assert found.index.tolist() == [3]
    assert float(found.points.norm()) < 1e-8


def test_products_of_the_classification_count(monkeypatch):
    bowl = surfaces.quadratic(eigenvalues=torch.linspace(1, 2, 600).double())
    found = critical_points(bowl, 2)
    monkeypatch.setattr(
        certificate, "classify", lambda *a, **options: replace(classify(*a, **options), products=0)
    )
    search_alone = critical_points(bowl, 2).products
    assert found.products == search_alone + sum(kind.products for kind in found.kinds) > search_alone


def test_what_is_counted_and_how_starts_end():
    surface = surfaces.goe(40)
    found = Derivatives(surface)
    starts = in_box(surface.domain, 4, 0)
    ends = krylov_search(found, starts, "newton", tol=1e-10, reach=1e3, max_steps=40)
    assert ends.outcomes == ("converged",) * 4
    assert ends.points.norm(dim=1).max() < 1e-9
    assert 4 < found.products <= 4 * 40 * INNER
    stopped = krylov_search(found, starts, "newton", tol=1e-10, reach=1e3, max_steps=1)
    assert set(stopped.outcomes) == {"unfinished"}
    fled = krylov_search(found, starts, "newton", tol=1e-10, reach=1e-3, max_steps=40)
    assert set(fled.outcomes) == {"escaped"}
    lost = krylov_search(found, starts * torch.nan, "newton", tol=1e-10, reach=1e3, max_steps=40)
    assert set(lost.outcomes) == {"not finite"}
    there = krylov_search(found, starts * 0, "newton", tol=1e-10, reach=1e3, max_steps=40)
    assert set(there.outcomes) == {"converged"}
    assert there.location_errors.tolist() == [0.0] * 4


class _Turned(torch.autograd.Function):
    """½‖x‖², whose second derivative is wrong: not the identity, but a matrix that is not symmetric."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x.square().sum()

    @staticmethod
    def backward(ctx, slope):
        return slope * _TurnedSlope.apply(ctx.saved_tensors[0])


class _TurnedSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, u):
        return u + u.roll(1)


def test_starts_where_the_hessian_is_not_symmetric_are_counted():
    class Bowl(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(300, dtype=torch.float64))

        def forward(self, x):
            return _Turned.apply(self.weight) + 0 * x

    torch.manual_seed(0)
    obj = Objective(
        Bowl(), batch_loss=lambda model, batch: model(batch[0]).mean(), data=(torch.zeros(2, 1).double(),)
    )
    found = critical_points(obj, torch.randn(3, 300, dtype=torch.float64))
    assert (len(found), found.failures) == (0, {"not symmetric": 3})
    assert "3 where the Hessian is not symmetric" in str(found)
