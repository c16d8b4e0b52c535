"""Starts that are given: vectors of a nearby point save products, and none make a result wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from curvature.models import dense_hessian, trained
from curvature.spectra import rotated
from curvature.spectrum.test_eigenpairs import check, check_complete
from thalweg.curvature import SymmetricOperator, eigenpairs, hessian
from thalweg.objective import Objective

N = 300


@pytest.fixture(scope="module")
def trajectory():
    """Hessians (n, n) of a model on real data along some steps of Adam at a low rate."""
    model, (x, y) = trained("mlp")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    found = []
    for _ in range(4):
        found.append(dense_hessian(model, lambda output: F.cross_entropy(output, y), x))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return found


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("which", ["largest", "both"])
def test_tracking_takes_less_than_half_of_the_products(trajectory, k, which):
    start, cold, warm = None, 0, 0
    for matrix in trajectory:
        operator = SymmetricOperator.of(matrix)
        fresh = eigenpairs(operator, k, which, 1e-3)
        pairs = fresh if start is None else eigenpairs(operator, k, which, 1e-3, start=start)
        exact = torch.linalg.eigvalsh(matrix)
        check(pairs, exact, matrix, which)
        assert bool(pairs.converged.all())
        check_complete(pairs, exact, which)
        if start is not None:
            cold, warm = cold + fresh.products, warm + pairs.products
        start = pairs.vectors
    assert warm < cold / 2


def test_tracking_a_model():
    """The same through Hessian products of the model itself."""
    model, (x, y) = trained("mlp")
    objective = Objective(model, F.cross_entropy, [(x, y)])
    theta = objective.point
    with hessian(objective, theta) as operator:
        before = eigenpairs(operator, 3)
    moved = theta - 1e-3 * objective.gradient(theta)
    with hessian(objective, moved) as operator:
        cold = eigenpairs(operator, 3)
        warm = eigenpairs(operator, 3, start=before.vectors)
    assert warm.products < cold.products / 2
    torch.testing.assert_close(warm.values, cold.values, rtol=0, atol=2e-3 * float(cold.values[0]))


def test_vectors_that_still_hold_are_multiplied_once():
    exact = torch.cat([torch.tensor([5.0, 4.0, 3.0]), torch.linspace(-1, 1, N - 3)]).double()
    operator = SymmetricOperator.of(rotated(exact))
    pairs = eigenpairs(operator, 3, tol=1e-6)
    again = eigenpairs(operator, 3, tol=1e-3, start=pairs.vectors)
    assert again.products == 3 + 1
    torch.testing.assert_close(again.values, pairs.values)


def test_vectors_that_nearly_hold_are_multiplied_once(trajectory):
    before = eigenpairs(SymmetricOperator.of(trajectory[0]), 10, tol=1e-2)
    pairs = eigenpairs(SymmetricOperator.of(trajectory[1]), 10, tol=1e-2, start=before.vectors)
    assert pairs.products == 10 + 1
    assert bool(pairs.converged.all())


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_any_start_will_do(columns, scale):
    exact = torch.cat([torch.tensor([5.0, 4.5, 3.0, 2.0]), torch.linspace(-1, 1, N - 4)]).double()
    matrix = rotated(exact)
    draw = torch.Generator().manual_seed(5)
    start = scale * torch.randn(N, columns, generator=draw, dtype=torch.float64)
    pairs = eigenpairs(SymmetricOperator.of(matrix), 4, tol=1e-8, start=start)
    check(pairs, exact, matrix, "largest")
    check_complete(pairs, exact, "largest")


def test_columns_that_repeat_or_vanish_are_left_out():
    exact = torch.cat([torch.tensor([5.0, 4.5, 3.0, 2.0]), torch.linspace(-1, 1, N - 4)]).double()
    matrix = rotated(exact)
    one = torch.ones(N, 1, dtype=torch.float64)
    pairs = eigenpairs(
        SymmetricOperator.of(matrix), 4, tol=1e-8, start=torch.cat([one, 2 * one, 0 * one, one], 1)
    )
    check_complete(pairs, exact, "largest")


def test_a_start_can_be_asked_to_be_complete():
    """An eigenvalue that rose where the vectors given do not point."""
    exact = torch.cat([torch.tensor([5.0, 4.0]), torch.linspace(-1, 1, N - 2)]).double()
    start = torch.eye(N, dtype=torch.float64)[:, [1, 2]]
    operator = SymmetricOperator.of(torch.diag(exact))
    blind = eigenpairs(operator, 2, start=start)
    assert blind.missed == float("inf")
    assert float(blind.values[0]) == pytest.approx(4)
    pairs = eigenpairs(operator, 2, start=start, complete=True)
    assert pairs.values.tolist() == pytest.approx([5, 4], abs=5e-3)
    assert pairs.missed <= 5e-3 * 1.01
