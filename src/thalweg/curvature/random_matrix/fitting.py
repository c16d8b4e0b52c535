"""Holding a measured spectrum against a random one: the law of the same bulk, how far it is, and what stands out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.checks import one_of
from thalweg.curvature.random_matrix.law import Law
from thalweg.curvature.random_matrix.marchenko_pastur import MarchenkoPastur
from thalweg.curvature.random_matrix.semicircle import Semicircle
from thalweg.errors import InvalidArgument


def fitted(values: ArrayLike, weights: ArrayLike | None = None, law: str = "semicircle") -> Law:
    """The law with the mean and variance of the values (m,), which weigh alike or as `weights` (m,) say.

    `law` is "semicircle" or "marchenko-pastur"; the latter of mean s and variance s²·ratio. Leave outliers out
    of `values`: they would widen the bulk.

    Raises InvalidArgument for an unknown law, fewer than two different values, or, for Marchenko-Pastur, a mean
    that is not positive.
    """
    one_of("law", law, ("semicircle", "marchenko-pastur"))
    x, w = _measure(values, weights)
    mean = float((w * x).sum())
    variance = float((w * (x - mean) ** 2).sum())
    if not variance > 0:
        raise InvalidArgument("values must hold two different ones at least: they have no spread")
    if law == "semicircle":
        return Semicircle(2 * math.sqrt(variance), mean)
    if not mean > 0:
        raise InvalidArgument(
            f"values have the mean {mean:.3g}: a Marchenko-Pastur law's is positive, take 'semicircle'"
        )
    return MarchenkoPastur(variance / mean**2, mean)


def distance(law: Law, values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The largest difference of the cumulative distributions (Kolmogorov's distance), between 0 and 1.

    values (m,) weigh alike or as `weights` (m,) say; the nodes and weights of a spectral density's quadrature
    will do. m sampled values of the law itself are at about 0.87/√m, eigenvalues nearer, for they repel.
    """
    x, w = _measure(values, weights)
    order = np.argsort(x)
    x, w = x[order], w[order]
    at_most = np.cumsum(w)
    expected = law.cumulative(x)
    # Just before x, where the law has an atom there: what lies left of it.
    before = law.cumulative(np.nextafter(x, -np.inf))
    # Of equal values only the last has all of their weight.
    last = np.append(x[1:] != x[:-1], True)
    first = np.insert(x[1:] != x[:-1], 0, True)
    above = np.abs(at_most - expected)[last].max()
    below = np.abs(at_most - w - before)[first].max()
    return float(max(above, below))


def bulk_outliers(
    law: Law, values: ArrayLike, size: int, errors: ArrayLike | float = 0.0
) -> NDArray[np.float64]:
    """Those of the values (k,) that lie beyond the law's edges by more than their error and the edge's own width.

    The largest eigenvalue of a random matrix of dimension `size` itself reaches beyond the edge by about
    size^(−2/3) of the bulk's half-width; three times that is allowed for.

    Source: Tracy & Widom (1996), On orthogonal and symplectic matrix ensembles.
    """
    x = np.asarray(values, dtype=np.float64)
    low, high = law.edges
    room = 3 * (high - low) / 2 * size ** (-2 / 3) + np.asarray(errors, dtype=np.float64)
    return x[(x < low - room) | (x > high + room)]


def _measure(values: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.asarray(values, dtype=np.float64).ravel()
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
    if not x.size or w.shape != x.shape or not np.isfinite(x).all() or not (w >= 0).all() or not w.sum() > 0:
        raise InvalidArgument(
            f"values ({x.size}) must be finite, and weights ({w.size}) as many, not negative, and not all zero"
        )
    return x, w / w.sum()
