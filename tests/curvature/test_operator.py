"""An operator against the matrix that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from curvature.models import case
from curvature.spectra import rotated
from thalweg import surfaces
from thalweg.curvature import SymmetricOperator, hessian
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch

EPS = torch.finfo(torch.float64).eps


@pytest.fixture
def matrix():
    return rotated(torch.linspace(-2, 5, 90, dtype=torch.float64))


@pytest.mark.parametrize("name", ["mlp", "convolutional", "attention", "recurrent"])
def test_hessian_products_are_the_dense_hessians(name):
    exact, objective = case(name).hessian, case(name).objective
    block = torch.randn(objective.size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with hessian(objective) as operator:
        assert operator.shape == (objective.size, objective.size)
        found = operator @ block
        single = operator @ block[:, 1]
    # Both sides are sums of the same terms in another order; 100 layers of rounding are plenty.
    scale = case(name).norm * float(block.norm())
    assert float((found - exact @ block).abs().max()) <= 100 * EPS * scale
    assert float((single - exact @ block[:, 1]).abs().max()) <= 100 * EPS * scale
    assert found.shape == (objective.size, 3)
    assert single.shape == (objective.size,)


def test_dense_of_a_model_is_symmetric_and_exact():
    exact = case("mlp").hessian
    with hessian(case("mlp").objective) as operator:
        dense = operator.dense()
    assert torch.equal(dense, dense.T)
    assert float((dense - exact).abs().max()) <= 100 * EPS * case("mlp").norm
    assert operator.products == len(exact)


def test_hessian_at_another_point():
    surface = surfaces.rosenbrock()
    x, y = -0.4, 1.7
    exact = torch.tensor([[1200 * x * x - 400 * y + 2, -400 * x], [-400 * x, 200.0]], dtype=torch.float64)
    operator = hessian(surface, torch.tensor([x, y], dtype=torch.float64))
    # Entries of some hundreds, each from fewer than ten operations.
    torch.testing.assert_close(operator.dense(), exact, rtol=10 * EPS, atol=0)


def test_every_vector_of_a_block_counts_as_a_product(matrix):
    operator = SymmetricOperator.of(matrix)
    n = len(matrix)
    operator @ torch.ones(n, dtype=torch.float64)
    assert operator.products == 1
    operator @ torch.ones(n, 4, dtype=torch.float64)
    assert operator.products == 5
    operator.dense()
    assert operator.products == 5 + n
    operator.to_scipy() @ np.ones(n)
    assert operator.products == 6 + n


def test_scipy_finds_the_same_eigenvalues(matrix):
    operator = SymmetricOperator.of(matrix)
    values = eigsh(operator.to_scipy(), k=4, which="LA", return_eigenvectors=False)
    # ARPACK at tol=0 works to rounding.
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(matrix.numpy())[-4:], rtol=1e-12)
    assert operator.products > 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scipy_operator_takes_vectors_columns_blocks_and_views(matrix, dtype):
    matrix = matrix.to(dtype)
    operator = SymmetricOperator.of(matrix).to_scipy()
    assert operator.dtype == matrix.numpy().dtype
    block = np.random.default_rng(0).normal(size=(len(matrix), 6)).astype(operator.dtype)
    frozen = block.copy()
    frozen.flags.writeable = False
    rounding = 100 * torch.finfo(dtype).eps * np.abs(matrix.numpy()).sum() ** 0.5
    for given in (block[:, 0], block[:, :1], block, block[::-1], block[:, ::2], frozen):
        np.testing.assert_allclose(operator @ given, matrix.numpy() @ given, rtol=0, atol=rounding)


def test_shapes_that_do_not_fit_are_refused(matrix):
    operator = SymmetricOperator.of(matrix)
    for shape in ((91,), (89, 2), (1,), (90, 1, 1), ()):
        with pytest.raises(ShapeMismatch, match=r"cannot multiply a tensor of shape"):
            operator @ torch.zeros(shape, dtype=torch.float64)
    assert operator.products == 0
    for shape in ((3, 4), (3,), (2, 2, 2)):
        with pytest.raises(ShapeMismatch, match="matrix must be square"):
            SymmetricOperator.of(torch.zeros(shape))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 41, 89])
def test_products_that_are_not_finite_are_refused(matrix, bad, place):
    matrix[place, place] = bad
    v = torch.zeros(90, dtype=torch.float64)
    v[place] = 1
    operator = SymmetricOperator.of(matrix)
    with pytest.raises(NotDifferentiable, match="product with the matrix is not finite"):
        operator @ v
    with pytest.raises(NotDifferentiable, match="not finite"):
        operator.dense()


def test_entries_near_the_largest_number_are_finite():
    huge = torch.finfo(torch.float64).max
    operator = SymmetricOperator.of(torch.eye(3, dtype=torch.float64))
    v = torch.full((3,), huge, dtype=torch.float64)
    assert torch.equal(operator @ v, v)


def test_matrices_that_are_not_symmetric_are_refused():
    matrix = torch.eye(5, dtype=torch.float64)
    matrix[0, 3] = 1e-3
    with pytest.raises(InvalidArgument, match="matrix is not symmetric"):
        SymmetricOperator.of(matrix).dense()


def test_leaving_the_context_frees_what_the_point_holds():
    with hessian(case("mlp").objective) as operator:
        before = operator @ torch.ones(operator.shape[0], dtype=torch.float64)
        assert operator.here._kept
    assert not operator.here._kept
    # It can still be asked.
    assert torch.equal(operator @ torch.ones_like(before), before)


def test_the_context_is_left_after_an_exception_too():
    operator = hessian(case("mlp").objective)

    def interrupted():
        with operator:
            operator @ torch.ones(operator.shape[0], dtype=torch.float64)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert not operator.here._kept
