"""Extreme eigenpairs by thick-restart Lanczos, with residuals that were computed and not estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import generator, random_vectors
from thalweg.curvature.spectrum.basis import Basis, rotate
from thalweg.errors import InvalidArgument, ShapeMismatch

Which: TypeAlias = Literal["largest", "smallest", "both"]


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues with their evidence.

    values: (k,), in units of the matrix; "largest" and "both" descending, "smallest" ascending.
    vectors: (n, k), orthonormal columns in the order of the values.
    residuals: (k,), ‖Av − λv‖ computed with a product each: an exact eigenvalue lies within it of each value.
    converged: (k,), whether the residual is at most tol times the largest absolute eigenvalue that showed, wanted
        or not.
    products: matrix-vector products spent.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    which: Which


def eigenpairs(
    operator: SymmetricOperator,
    k: int = 10,
    which: Which = "largest",
    tol: float = 1e-3,
    *,
    seed: int = 0,
    max_products: int | None = None,
    start: Tensor | None = None,
) -> Eigenpairs:
    """The k algebraically largest or smallest eigenpairs, or half of k from each end for "both" (odd: one more on top).

    At most 2k + 20 vectors of length n are held, the newest product among them. Without convergence after
    `max_products` products (default 20k + 300; never fewer than 3k + 18 are spent) the pairs found so far are
    returned with `converged` false. Copies of an eigenvalue that repeats exactly come in by rounding alone, one
    after the other: at a loose `tol` some may be missed.

    Parameters
    ----------
    tol: bound on the residual relative to the largest absolute eigenvalue.
    start: vector (n,) to start from, random from `seed` when None; not needed where n ≤ 2k + 18.

    Raises
    ------
    InvalidArgument: k below 1 or above n, tol not positive, an unknown end of the spectrum, or a start that is
        no finite vector (n,) other than zero.

    Source: Wu & Simon (2000), Thick-restart Lanczos method for large symmetric eigenvalue problems.
    """
    size = operator.shape[0]
    _check(k, which, tol, size, start)
    limit = 20 * k + 300 if max_products is None else max_products
    begun = operator.products
    # One vector is the residual, one is being worked on.
    capacity = 2 * k + 18
    if size <= capacity:
        values, vectors = torch.linalg.eigh(operator.dense().double())
        chosen = _wanted(values, k, which)
        found = vectors[:, chosen].to(operator.dtype)
        norm = float(values.abs().max())
        return _verified(operator, found, which, tol, norm, begun, torch.empty_like(found))
    draw = generator(seed)
    first = random_vectors(operator, 1, draw)[:, 0] if start is None else start
    basis = Basis(operator, k, capacity + 1)
    basis.set(0, first)
    basis.column(0).div_(basis.column(0).norm())
    del first
    projected = torch.zeros(capacity, capacity, dtype=torch.float64)
    kept = 0
    while True:
        beta = _extend(operator, basis, projected, kept, draw)
        values, rotation = torch.linalg.eigh(projected)
        chosen = _wanted(values, k, which)
        estimates = (beta * rotation[-1, chosen]).abs()
        norm = float(values.abs().max())
        # Half of tol: the verification below must not fail on the estimate's rounding.
        done = bool((estimates <= 0.5 * tol * norm).all())
        retained = _wanted(values, k + (capacity - k) // 2, which)
        if done or operator.products - begun + (capacity - retained.numel()) + k > limit:
            basis.rotate(rotation[:, chosen])
            return _verified(operator, basis.leading, which, tol, norm, begun, basis.spare(k))
        kept = retained.numel()
        basis.rotate(rotation[:, retained])
        basis.set(kept, basis.column(capacity))
        projected.zero_()
        projected.diagonal()[:kept] = values[retained]
        projected[kept, :kept] = projected[:kept, kept] = beta * rotation[-1, retained]


def _extend(
    operator: SymmetricOperator, basis: Basis, projected: Tensor, kept: int, draw: torch.Generator
) -> float:
    """Fill the basis from column `kept` on by Lanczos steps and the projected matrix with it; the last β."""
    capacity = projected.shape[0]
    beta = 0.0
    for step in range(kept, capacity):
        residual = operator @ basis.column(step)
        coefficients = basis.orthogonalize(residual, step + 1)
        projected[step, step] = coefficients[step]
        beta = float(residual.norm())
        following = basis.column(step + 1)
        following.copy_(residual)
        # No vector beside the basis is held when the next one is made.
        del residual
        if beta <= 10 * torch.finfo(operator.dtype).eps * float(coefficients.norm()):
            # The Krylov space is exhausted: go on in a direction orthogonal to it, uncoupled.
            following.copy_(random_vectors(operator, 1, draw)[:, 0])
            basis.orthogonalize(following, step + 1)
            beta = 0.0
        following.div_(following.norm())
        if step + 1 < capacity:
            projected[step, step + 1] = projected[step + 1, step] = beta
    return beta


def _wanted(values: Tensor, k: int, which: Which) -> Tensor:
    """Indices of the k wanted among ascending values, in the order in which they are returned."""
    ascending = torch.arange(values.numel(), device=values.device)
    if which == "smallest":
        return ascending[:k]
    if which == "largest":
        return ascending.flip(0)[:k]
    top = (k + 1) // 2
    return torch.cat([ascending.flip(0)[:top], ascending[: k - top].flip(0)])


def _verified(
    operator: SymmetricOperator,
    vectors: Tensor,
    which: Which,
    tol: float,
    norm: float,
    begun: int,
    image: Tensor,
) -> Eigenpairs:
    """Rayleigh-Ritz on the pairs found, with the residuals that k products show; `image` is space for these.

    `norm` is the largest absolute eigenvalue that showed on the way.
    """
    for column in range(vectors.shape[1]):
        image[:, column] = operator @ vectors[:, column]
    small = (vectors.T @ image).double()
    values, rotation = torch.linalg.eigh((small + small.T) / 2)
    if which != "smallest":
        values, rotation = values.flip(0), rotation.flip(1)
    rotate(vectors, rotation)
    rotate(image, rotation)
    values = values.to(operator.dtype)
    residuals = torch.stack(
        [image[:, i].sub_(vectors[:, i], alpha=float(values[i])).norm() for i in range(vectors.shape[1])]
    )
    # Rounding alone leaves residuals of this size, which matters for a zero matrix.
    floor = torch.finfo(operator.dtype).eps * operator.shape[0] ** 0.5
    converged = residuals <= max(tol, floor) * norm + torch.finfo(operator.dtype).tiny
    return Eigenpairs(values, vectors, residuals, converged, operator.products - begun, which)


def _check(k: int, which: str, tol: float, size: int, start: Tensor | None) -> None:
    if not 1 <= k <= size:
        raise InvalidArgument(f"k must be between 1 and the dimension {size}, got {k}")
    if which not in get_args(Which):
        raise InvalidArgument(f'which must be "largest", "smallest" or "both", got {which!r}')
    if not tol > 0:
        raise InvalidArgument(f"tol must be positive, got {tol}")
    if start is None:
        return
    if start.shape != (size,):
        raise ShapeMismatch(f"start must have shape ({size},), got {tuple(start.shape)}")
    norm = float(start.norm())
    if not 0 < norm < float("inf"):
        raise InvalidArgument(f"start must be finite and not zero, got a vector of norm {norm}")
