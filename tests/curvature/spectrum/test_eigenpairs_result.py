"""What a result says of itself: errors, what was spent, and matrices that are none of the kind."""

from __future__ import annotations

import pytest
import torch

from curvature.spectra import rotated
from curvature.spectrum.test_eigenpairs import BULK, EPS, SPECTRA, N, with_outliers
from thalweg.curvature import Eigenpairs, SymmetricOperator, eigenpairs
from thalweg.errors import InvalidArgument


def test_no_more_products_than_the_residuals_take():
    """Outliers over a bulk, as of networks, take a few products a pair: each count was measured, and is the most."""
    operator = SymmetricOperator.of(rotated(with_outliers(20.0, 12.0, 9.0, 7.0, 5.0)))
    for k, products in ((1, 9), (3, 12), (5, 14)):
        assert eigenpairs(operator, k, complete=False).products <= products
        # To rule out that others were missed, copies included.
        assert eigenpairs(operator, k).products <= products + 9


@pytest.mark.parametrize("size", [30, N])
def test_a_matrix_that_is_not_symmetric_is_named(size):
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(size, size, generator=draw, dtype=torch.float64)
    operator = SymmetricOperator(lambda v: matrix @ v, size, dtype=torch.float64, name="Jacobian")
    with pytest.raises(InvalidArgument, match=r"^Jacobian is not symmetric: .* at scale [0-9.e+-]+$"):
        eigenpairs(operator, 8)
    # Seen from vectors that were needed anyway, and before much was spent.
    assert operator.products <= (size if size <= 2 * 8 + 18 else 3)


def test_a_slight_asymmetry_is_found_and_rounding_is_not():
    matrix = rotated(SPECTRA["indefinite"])
    draw = torch.Generator().manual_seed(0)
    other = torch.randn(N, N, generator=draw, dtype=torch.float64)
    skew = (other - other.T) / torch.linalg.matrix_norm(other - other.T, 2)
    with pytest.raises(InvalidArgument, match="is not symmetric"):
        eigenpairs(SymmetricOperator.of(matrix + 1e-4 * skew), 3)
    for dtype in (torch.float32, torch.float64):
        noise = 100 * torch.finfo(dtype).eps * skew
        assert bool(eigenpairs(SymmetricOperator.of((matrix + noise).to(dtype)), 3).converged.all())


@pytest.mark.parametrize("which", ["largest", "both"])
@pytest.mark.parametrize("name", ["cluster of five", "rank three", "indefinite", "power law"])
def test_the_errors_hold(name, which):
    """Kato and Temple: residual² over the gap, where nothing lies in it."""
    exact = SPECTRA[name]
    pairs = eigenpairs(SymmetricOperator.of(rotated(exact)), 5, which, 1e-3)
    off = (pairs.values[:, None] - exact).abs().min(1).values
    rounding = 10 * N**0.5 * EPS * float(exact.abs().max())
    assert bool((off <= pairs.errors + rounding).all())
    assert bool((pairs.errors <= pairs.residuals + rounding).all())


def test_errors_of_outliers_are_the_squares():
    pairs = eigenpairs(
        SymmetricOperator.of(rotated(with_outliers(5.0, 4.0, 3.0))), 2, tol=1e-2, complete=False
    )
    # The gap is 1, less what its ends may be off.
    assert pairs.gaps is not None
    assert 0.9 <= float(pairs.gaps[0]) <= 1
    assert float(pairs.errors[0]) <= float(pairs.residuals[0]) ** 2 / 0.9
    bare = Eigenpairs(pairs.values, pairs.vectors, pairs.residuals, pairs.converged, 9, "largest")
    assert torch.equal(bare.errors, pairs.residuals)


def test_products_that_change_are_measured_one_by_one():
    """Where the check by a combination fails, each residual is what a product with its vector shows."""
    matrix, spent = rotated(SPECTRA["indefinite"]), [0]

    def product(v):
        spent[0] += 1 if v.dim() == 1 else v.shape[1]
        # A matrix that is another one from the last product of the search on.
        return matrix @ v * (1.0 if spent[0] < 12 else 1.01)

    operator = SymmetricOperator(product, N, dtype=torch.float64)
    pairs = eigenpairs(operator, 2, "largest", 1e-3, max_products=12)
    assert operator.products == pairs.products == 12 + 2
    true = (1.01 * matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    torch.testing.assert_close(pairs.residuals, true, rtol=1e-6, atol=1e-12)


def test_the_whole_of_a_small_matrix():
    exact = torch.linspace(-1, 2, 24, dtype=torch.float64)
    operator = SymmetricOperator.of(rotated(exact))
    pairs = eigenpairs(operator, 3)
    assert pairs.products == operator.products == 24
    assert pairs.missed == 0
    assert pairs.gaps is not None
    torch.testing.assert_close(pairs.gaps, torch.full((3,), 3 / 23, dtype=torch.float64))


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_a_count_of_products_that_is_none(count):
    with pytest.raises(InvalidArgument, match="max_products must be an integer of at least 1, got"):
        eigenpairs(SymmetricOperator.of(rotated(BULK)), 3, max_products=count)


def test_a_line_for_people():
    dense = eigenpairs(SymmetricOperator.of(torch.diag(torch.tensor([4.0, 1.0, -2.0]))), 1)
    assert str(dense) == "eigenvalues (1 largest): 4 ± 0, converged, none missed beyond 0 (99 %), 3 products"
    values, flags = torch.tensor([3.0, -1.25]), torch.tensor([True, False])
    pairs = Eigenpairs(values, torch.eye(2), torch.tensor([1e-3, 0.5]), flags, 44, "both")
    assert (
        str(pairs)
        == "eigenvalues (2 extreme): 3.0000 ± 0.0010 … −1.25 ± 0.50, 1 of 2 not converged, 44 products"
    )
