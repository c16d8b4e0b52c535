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


@pytest.fixture
def other():
    return rotated(torch.linspace(0.1, 1, 90, dtype=torch.float64), seed=1)


def assert_is(operator, wanted):
    assert float((operator.dense() - wanted).abs().max()) <= 100 * EPS * max(float(wanted.abs().max()), 1)
    v = torch.randn(len(wanted), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for w in (v, v[:, 0]):
        torch.testing.assert_close(operator @ w, wanted @ w, rtol=0, atol=1000 * EPS)


def test_algebra(matrix, other):
    a, b = SymmetricOperator.of(matrix), SymmetricOperator.of(other)
    identity = torch.eye(90, dtype=torch.float64)
    assert_is(a + b, matrix + other)
    assert_is(a - b, matrix - other)
    assert_is(3 * a, 3 * matrix)
    assert_is(a * 0.5, matrix / 2)
    assert_is(np.float64(2) * a, 2 * matrix)
    assert_is(-a, -matrix)
    assert_is(a.shifted(-1.5), matrix - 1.5 * identity)
    assert_is(2 * a - (b + a).shifted(1) * 3, 2 * matrix - 3 * (other + matrix + identity))
    assert (a - (b + a)).name == "matrix − (matrix + matrix)"


def test_products_count_once_in_each_operator(matrix, other):
    a, b = SymmetricOperator.of(matrix), SymmetricOperator.of(other)
    total = 2 * (a + b).shifted(1)
    total @ torch.ones(90, 3, dtype=torch.float64)
    assert (total.products, a.products, b.products) == (3, 3, 3)
    block = a.restricted(slice(10))
    block.dense()
    assert (block.products, a.products) == (10, 13)
    (a + a) @ torch.ones(90, dtype=torch.float64)
    assert a.products == 15


def test_restrictions(matrix):
    a = SymmetricOperator.of(matrix)
    mask = torch.arange(90) % 4 == 1
    for where, index in (
        (slice(5, 20), torch.arange(5, 20)),
        (slice(None, None, 7), torch.arange(0, 90, 7)),
        ([3], torch.tensor([3])),
        ([0, 2, 1, 3], torch.tensor([0, 2, 1, 3])),
        (torch.tensor([88, 4, 31]), torch.tensor([88, 4, 31])),
        (mask, mask.nonzero()[:, 0]),
    ):
        assert_is(a.restricted(where), matrix[index][:, index])
    assert a.restricted(slice(5, 20)).name == "matrix in 15 of 90 rows"
    assert_is(a.restricted(slice(5, 20)).restricted([1, 0]), matrix[[6, 5]][:, [6, 5]])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "where chooses nothing of 90 rows"),
        (slice(90, 95), "where chooses nothing of 90 rows"),
        (torch.zeros(90, dtype=torch.bool), "where chooses nothing of 90 rows"),
        ([3, 90], "where must hold integers from 0 to 89, got 3 to 90"),
        ([-1], "where must hold integers from 0 to 89"),
        (torch.tensor([0.5]), "where must hold integers"),
        ([3, 4, 3], "where must name each row once, got 3 of which some repeat"),
        (torch.ones(5, dtype=torch.bool), r"where: a mask must have shape \(90,\), got \(5,\)"),
    ],
)
def test_bad_restrictions(matrix, where, message):
    with pytest.raises(InvalidArgument, match=message) as raised:
        SymmetricOperator.of(matrix).restricted(where)
    assert "\n" not in str(raised.value)


def test_deflation_takes_eigenvectors_out(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    operator = SymmetricOperator.of(matrix).deflated(vectors[:, -5:])
    left = torch.linalg.eigvalsh(operator.dense())
    wanted = torch.cat([values[:-5], torch.zeros(5, dtype=torch.float64)]).sort().values
    assert float((left - wanted).abs().max()) <= 1e3 * EPS * 5
    q = torch.linalg.qr(torch.randn(90, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))).Q
    for some in (q, q[:, 0]):
        columns = some.reshape(90, -1)
        p = torch.eye(90, dtype=torch.float64) - columns @ columns.T
        assert_is(SymmetricOperator.of(matrix).deflated(some), p @ matrix @ p)
    assert_is(SymmetricOperator.of(matrix).deflated(q[:, :0]), matrix)


def test_bad_deflations(matrix):
    operator = SymmetricOperator.of(matrix)
    for vectors in (torch.ones(90, 2), 2 * torch.eye(90, 3), torch.full((90, 1), torch.nan)):
        with pytest.raises(InvalidArgument, match=r"vectors must be orthonormal.*pass torch.linalg.qr"):
            operator.deflated(vectors.double())
    for shape in ((89, 2), (90, 2, 2), ()):
        with pytest.raises(ShapeMismatch, match=r"vectors must have shape \(90, k\)"):
            operator.deflated(torch.zeros(shape, dtype=torch.float64))


def test_operators_that_do_not_fit_each_other(matrix):
    a = SymmetricOperator.of(matrix)
    with pytest.raises(
        ShapeMismatch, match=r"cannot combine matrix and matrix: their size is \(90, 90\) and \(2, 2\)"
    ):
        a + SymmetricOperator.of(torch.eye(2, dtype=torch.float64))
    with pytest.raises(ShapeMismatch, match=r"their dtype is torch.float64 and torch.float32"):
        a - SymmetricOperator.of(matrix.float())
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="factor must be finite"):
            bad * a
        with pytest.raises(InvalidArgument, match="sigma must be finite"):
            a.shifted(bad)
    for wrong in (lambda: a + 1, lambda: a - matrix, lambda: a * "2", lambda: a * a):
        with pytest.raises(TypeError):
            wrong()


def test_the_diagonal_is_exact(matrix):
    operator = SymmetricOperator.of(matrix)
    assert torch.equal(operator.diagonal(), matrix.diagonal())
    assert operator.products == 90
    small = SymmetricOperator.of(matrix[:1, :1])
    assert torch.equal(small.diagonal(), matrix[0, :1])
    exact = case("mlp").hessian.diagonal()
    with hessian(case("mlp").objective) as operator:
        assert float((operator.diagonal() - exact).abs().max()) <= 100 * EPS * case("mlp").norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asymmetry_is_found_by_a_few_products(matrix, dtype):
    skew = torch.randn(90, 90, generator=torch.Generator().manual_seed(5)).to(dtype)
    skew = (skew - skew.T) / torch.linalg.matrix_norm(skew, 2)
    operator = SymmetricOperator.of(matrix.to(dtype))
    operator.check_symmetry()
    assert operator.products == 2
    with pytest.raises(InvalidArgument, match="matrix is not symmetric: entries differ"):
        SymmetricOperator.of((matrix + 0.01 * skew).to(dtype)).check_symmetry(4)
    for probes in (1, 0, 2.5):
        with pytest.raises(InvalidArgument, match="probes must be an integer of at least 2"):
            operator.check_symmetry(probes)


@pytest.mark.parametrize("name", ["mlp", "convolutional", "attention", "recurrent"])
def test_hessians_of_models_pass_for_symmetric(name):
    for seed in range(5):
        hessian(case(name).objective).check_symmetry(3, seed=seed)


def test_closing_what_is_made_of_operators_closes_them():
    objective = case("mlp").objective
    with (2 * (hessian(objective) + hessian(objective, objective.point + 0.1))).restricted(slice(9)) as made:
        made @ torch.ones(9, dtype=torch.float64)
        points = [part.here for part in made._parts[0]._parts[0]._parts]
        assert all(here._kept for here in points)
    assert not any(here._kept for here in points)
    assert made.difference_error == 0


def test_differences_show_in_what_is_made_of_them():
    class Inexact:
        difference_error = 1e-6

        def close(self):
            pass

    part = SymmetricOperator(lambda v: v, 4, dtype=torch.float64, here=Inexact())
    assert (2 * part + SymmetricOperator.of(torch.eye(4, dtype=torch.float64))).difference_error == 1e-6
