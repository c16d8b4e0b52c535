"""Extreme and interior eigenpairs, each with the error it may have and the chance that a better one was missed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.basis import rotate
from thalweg.curvature.spectrum.decomposition import Decomposition
from thalweg.curvature.spectrum.extraction import Extraction, Which, extract, remainder
from thalweg.curvature.spectrum.resumption import Checkpoint
from thalweg.curvature.spectrum.search import Search
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.numbers import number, with_error

_NAMES: dict[Which, str] = {
    "largest": "largest",
    "smallest": "smallest",
    "both": "extreme",
    "magnitude": "largest in magnitude",
    "zero": "nearest zero",
}


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues with their evidence.

    values: (k,), in units of the matrix; "largest" and "both" descending, "smallest" ascending, "magnitude" by
        descending and "zero" by ascending absolute value.
    vectors: (n, k), orthonormal columns in the order of the values.
    residuals: (k,), ‖Av − λv‖: an exact eigenvalue lies within it of each value, whatever else is true.
    converged: (k,), whether the residual is at most tol times the largest absolute eigenvalue that showed, wanted
        or not.
    products: matrix-vector products spent.
    missed: with 99 % confidence no eigenvalue that is better than the last one wanted (of its end) by more than this
        was passed over, copies included; infinite when that was not established.
    gaps: (k,), distance from each value to the nearest other one that showed, less what that may be off.
    accuracy: relative error of the products as far as it showed: of finite differences, or as asymmetry.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    which: Which
    missed: float = math.inf
    gaps: Tensor | None = None
    accuracy: float = 0.0

    @property
    def errors(self) -> Tensor:
        """The error (k,) of each value: residual²/gap or the residual, whichever is less, and no less than of products.

        The residual holds without conditions. The square over the gap (Kato & Temple), mostly orders of magnitude less,
        holds if no eigenvalue that did not show lies nearer than those that did.

        It is the error of the matrix as computed in its precision. With ReLU or max pooling two nearly equal values may
        fall to either side in float32, which can move eigenvalues by more: float64 shows whether it does.
        """
        if self.gaps is None:
            return self.residuals
        size = self.values.abs().max()
        # A product is the sum of many terms, each rounded.
        rounding = 4 * torch.finfo(self.values.dtype).eps * size
        least = torch.minimum(self.residuals, self.residuals.square() / self.gaps + rounding)
        return least.clamp_min(self.accuracy * float(size))

    def __str__(self) -> str:
        count, errors = len(self.values), self.errors.tolist()
        ends = [with_error(value, error) for value, error in zip(self.values.tolist(), errors, strict=True)]
        shown = ends[0] if count == 1 else f"{ends[0]} … {ends[-1]}"
        name = "the largest" if (self.which, count) == ("both", 1) else f"{count} {_NAMES[self.which]}"
        late = count - int(self.converged.sum())
        parts = [
            f"eigenvalues ({name}): {shown}",
            f"{late} of {count} not converged" if late else "converged",
        ]
        if math.isfinite(self.missed):
            parts.append(f"none missed beyond {number(self.missed, 2)} (99 %)")
        return ", ".join([*parts, f"{self.products} products"])


def eigenpairs(
    operator: SymmetricOperator,
    k: int = 10,
    which: Which = "largest",
    tol: float = 1e-3,
    *,
    seed: int = 0,
    max_products: int | None = None,
    start: Tensor | None = None,
    complete: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Eigenpairs:
    """k eigenpairs by thick-restart band Lanczos, each with its error, and what may have been missed.

    `which` are the "largest", the "smallest", the largest by "magnitude", the nearest "zero", or half of k from each
    of "both" ends (odd: one more on top). The search ends when each residual is within `tol`
    and random vectors rule out, with 99 % confidence, that an eigenvalue better than the last by more than tol was
    passed over, be it a further copy of one that was found. Where the bulk of the spectrum is dense that can take long:
    it is pursued until the basis is full, and `missed` says how far it came. Another product, with a random combination
    of the vectors, verifies the residuals; should they be off by a twentieth of tol, each is computed anew.

    At most 2k + 20 vectors of length n are held, the newest product among them. Without convergence after
    `max_products` products (default 20k + 300; never fewer than k + 1 are spent) the pairs found so far are
    returned with `converged` false. Up to n = 2k + 18 the whole matrix is computed.

    Parameters
    ----------
    tol: bound on the residual relative to the largest absolute eigenvalue.
    start: vector (n,) or up to k of them (n, j), such as the eigenvectors at a nearby point, which take fewer products
        the nearer they are: no more than j + 1 if they still hold. A random vector from `seed` when None.
    complete: whether to go on, when the residuals are within tol, until `missed` is too: by default from a random start
        but not from a given one. It costs a few products, most where eigenvalues near the last one are dense.
    checkpoint: file in which the state is kept while the search goes on, and from which it goes on after an interrupt
        or with a higher `max_products`; `products` counts those before too. It is deleted on convergence.

    Raises
    ------
    InvalidArgument: k below 1 or above n, tol not positive, an unknown part of the spectrum, a start that is not
        finite or zero, a matrix that its products show to be not symmetric, a checkpoint of another search or matrix.

    Sources: Wu & Simon (2000), Thick-restart Lanczos method for large symmetric eigenvalue problems; Ruhe (1979);
    Morgan & Zeng (2006) for those near zero.
    """
    require_operator(operator)
    size = operator.shape[0]
    _check(k, which, tol, size, start)
    limit = 20 * k + 300 if max_products is None else checks.whole("max_products", max_products)
    if size <= 2 * k + 18:
        return _dense(operator, k, which)
    # With the newest product these are the 2k + 20 vectors.
    state = Decomposition(operator, k, 2 * k + 19, generator(seed))
    search = Search(state, k, which, tol, start is None if complete is None else complete)
    place = None if checkpoint is None else Checkpoint(checkpoint)
    if place is None or not place.read(search, seed):
        search.begin(None if start is None else start.reshape(size, -1))

    def keep(restarted: bool) -> None:
        if place is not None:
            place.write(search, seed) if restarted else place.write_when_due(search, seed)

    try:
        found = search.run(limit - 1, keep)
    except BaseException:
        if place is not None:
            place.write(search, seed)
        raise
    if place is not None and bool((found.residuals > search.margin).any()):
        place.write(search, seed)
    pairs = _verified(search, found)
    if place is not None and bool(pairs.converged.all()):
        place.remove()
    return pairs


def _verified(search: Search, found: Extraction) -> Eigenpairs:
    """The pairs with residuals that a product with a random combination of the vectors confirms, or one with each."""
    state, operator, k = search.state, search.state.operator, search.k
    gaps = _gaps(found)
    state.compress(*remainder(state.projected, state.coupling, found, k, search.which, 0.0))
    weights = torch.randn(k, generator=state.draw, dtype=torch.float64)
    # Of a standard normal combination the square is the sum of all squared errors, on average.
    discrepancy = state.discrepancy(weights)
    search.spent += 1
    vectors = state.basis.leading
    values, residuals = found.values, state.coupling.norm(dim=0) + discrepancy
    if discrepancy > 0.05 * search.margin:
        state.basis.release()
        values, residuals = _recomputed(operator, vectors, search.which)
        search.spent += k
    return Eigenpairs(
        values.to(vectors),
        vectors,
        residuals.to(vectors),
        (residuals <= search.margin).to(operator.device),
        search.spent,
        search.which,
        search.missed,
        gaps.to(vectors),
        operator.product_error,
    )


def _recomputed(operator: SymmetricOperator, vectors: Tensor, which: Which) -> tuple[Tensor, Tensor]:
    """Rayleigh-Ritz on `vectors` (n, k), in place, by a product each: values and residuals."""
    image = torch.empty_like(vectors.T).T
    for start in range(0, vectors.shape[1], 8):
        image[:, start : start + 8] = operator @ vectors[:, start : start + 8]
    small = (vectors.T @ image).double().cpu()
    found = extract(
        (small + small.T) / 2, torch.zeros(0, len(small), dtype=torch.float64), len(small), which, 0.0
    )
    rotate(vectors, found.vectors)
    rotate(image, found.vectors)
    residuals = [
        image[:, i].sub_(vectors[:, i], alpha=value).norm() for i, value in enumerate(found.values.tolist())
    ]
    return found.values, torch.stack(residuals).double().cpu()


def _dense(operator: SymmetricOperator, k: int, which: Which) -> Eigenpairs:
    """The pairs of the whole matrix, which n products show."""
    begun = operator.products
    matrix = operator.dense()
    size = matrix.shape[0]
    found = extract(matrix.double().cpu(), torch.zeros(0, size, dtype=torch.float64), k, which, 0.0)
    vectors = found.vectors.to(matrix)
    values = found.values.to(matrix)
    residuals = (matrix @ vectors - vectors * values).norm(dim=0)
    converged = torch.ones_like(residuals, dtype=torch.bool)
    products = operator.products - begun
    gaps, accuracy = _gaps(found).to(matrix), operator.product_error
    return Eigenpairs(values, vectors, residuals, converged, products, which, 0.0, gaps, accuracy)


def _gaps(found: Extraction) -> Tensor:
    """Distance (k,) of each value to the nearest other, less the other's residual."""
    k, values = found.values.numel(), torch.cat([found.values, found.others])
    distances = (found.values[:, None] - values).abs() - torch.cat([found.residuals, found.other_residuals])
    distances[range(k), range(k)] = math.inf
    # A gap of zero would make the error of an exact pair undefined.
    return distances.amin(1).clamp_min(torch.finfo(torch.float32).tiny)


def _check(k: int, which: str, tol: float, size: int, start: Tensor | None) -> None:
    if checks.whole("k", k) > size:
        raise InvalidArgument(f"k must be at most the dimension {size}, got {k}")
    checks.one_of("which", which, tuple(_NAMES))
    checks.positive("tol", tol)
    if start is None:
        return
    if start.dim() not in (1, 2) or start.shape[0] != size or start[:1].numel() > k:
        raise ShapeMismatch(
            f"start must have shape ({size},) or ({size}, j) with j up to k = {k}, got {tuple(start.shape)}"
        )
    norm = float(start.norm())
    if not 0 < norm < math.inf:
        raise InvalidArgument(f"start must be finite and not zero, got vectors of norm {norm}")
