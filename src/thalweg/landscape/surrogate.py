"""A surface through scattered points, and how far off it may be between them.

Cubic radial splines with a quadratic trend interpolate one of several transforms of a value, the one whose
leave-one-out errors are smallest. Read as a Gaussian process, their standard deviation between the points is the
power function times a local amplitude, which the leave-one-out residuals tell. Only values are used: a gradient
in the plane costs as much as about three values and gives three numbers, which tell less in one place than apart.

Sources: Rippa (1999), An algorithm for selecting a good value for the parameter c in radial basis function
interpolation; Wendland (2005), Scattered Data Approximation, chapter 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array: TypeAlias = NDArray[np.float64]

FLOOR = 1e-3
"""Below this share of its range a value need not be known better in relative terms."""
NEIGHBOURS = 8
"""Points whose leave-one-out residuals tell the amplitude around a place."""
_ROWS = 4096


def scale(values: Array, spread: float) -> Array:
    """What an error at `values` is relative to, where the map's range is `spread`."""
    return np.maximum(np.abs(values), max(FLOOR * spread, np.finfo(float).tiny))


@dataclass(frozen=True)
class Prediction:
    """Values and standard deviations of their relative errors, each (q,)."""

    values: Array
    deviations: Array


class Splines:
    """Cubic splines over points (p, d), for the values of several metrics there.

    The points are distinct, and a quadratic does not vanish at all of them.
    """

    def __init__(self, points: Array) -> None:
        self.points = points
        p, trend = len(points), _trend(points)
        system = np.zeros((p + trend.shape[1],) * 2)
        system[:p, :p] = _cubes(cdist(points, points))
        system[:p, p:], system[p:, :p] = trend, trend.T
        # By torch: threads of NumPy's that wait for more to do would slow the model's own down several times.
        self._inverse = torch.linalg.inv(torch.from_numpy(system))

    def at(self, places: Array) -> Between:
        """The splines prepared for `places` (q, d)."""
        parts = [self._near(rows) for rows in np.array_split(places, max(1, len(places) // _ROWS))]
        weights, powers, nearest = (
            parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        )
        return Between(self, weights[:, : len(self.points)], powers, nearest)

    def _near(self, places: Array) -> tuple[Array, Array, NDArray[np.intp]]:
        """Weights, those of the trend last, power function and nearest points, as `Between` has them."""
        distances = cdist(places, self.points)
        basis = np.hstack([_cubes(distances), _trend(places)])
        weights = (torch.from_numpy(basis) @ self._inverse).numpy()
        # Rounding must not leave less than the distance to the nearest point promises.
        squares = np.maximum(-np.einsum("ij,ij->i", weights, basis), 0.05 * _cubes(distances.min(1)))
        count = min(NEIGHBOURS, len(self.points))
        return weights, np.sqrt(squares), np.argpartition(distances, count - 1, axis=1)[:, :count]

    def left_out(self, heights: Array) -> tuple[Array, Array]:
        """Residuals at each of the points, from all others (Rippa 1999), and their standard deviations' inverses."""
        p = len(self.points)
        diagonal = self._inverse.diagonal()[:p].numpy()
        residuals = _times(self._inverse[:p, :p], heights) / diagonal
        return residuals, np.sqrt(np.abs(diagonal))


@dataclass(frozen=True)
class Between:
    """Places between the points of `splines`: weights (q, p), power function (q,), nearest points (q, k)."""

    splines: Splines
    weights: Array
    powers: Array
    nearest: NDArray[np.intp]

    def predict(self, values: Array) -> Prediction:
        """The surface through `values` (p,), under the transform that suits them best."""
        spread = float(np.ptp(values))
        best: tuple[float, Array, Array, _Transform] | None = None
        for transform in _transforms(values):
            heights = transform.forward(values)
            residuals, sharpness = self.splines.left_out(heights)
            errors = np.abs(transform.back(heights - residuals) - values) / scale(values, spread)
            badness = float(np.quantile(errors, 0.9))
            if best is None or badness < best[0]:
                best = badness, heights, np.abs(residuals) * sharpness, transform
        assert best is not None
        _, heights, amplitudes, transform = best
        found = _times(torch.from_numpy(self.weights), heights)
        reach = np.sqrt((amplitudes[self.nearest] ** 2).mean(axis=1)) * self.powers
        guess = transform.back(found)
        off = np.maximum(transform.back(found + reach) - guess, guess - transform.back(found - reach))
        return Prediction(guess, off / scale(guess, spread))


@dataclass(frozen=True)
class _Transform:
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    low: float
    high: float

    def back(self, heights: Array) -> Array:
        return self.inverse(np.clip(heights, self.low, self.high))


def _transforms(values: Array) -> list[_Transform]:
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    shift = max(abs(low), FLOOR * spread)
    room = spread / 2
    return [
        _Transform(
            lambda v: np.log(v - low + shift),
            lambda u: np.exp(u) + low - shift,
            float(np.log(shift / 2)),
            float(np.log(spread + shift + room)),
        ),
        _Transform(
            lambda v: np.sqrt(v - low + FLOOR * spread),
            lambda u: u**2 + low - FLOOR * spread,
            0.0,
            float(np.sqrt(spread * (1 + FLOOR) + room)),
        ),
        _Transform(lambda v: v, lambda u: u, low - room, low + spread + room),
    ]


def _times(matrix: torch.Tensor, vector: Array) -> Array:
    return (matrix @ torch.from_numpy(vector)).numpy()


def _cubes(distances: NDArray[np.floating]) -> NDArray[np.floating]:
    # A power takes three times as long.
    return distances * distances * distances


def _trend(points: Array) -> Array:
    """Monomials up to the second degree at `points` (q, d)."""
    d = points.shape[1]
    squares = [points[:, i] * points[:, j] for i in range(d) for j in range(i, d)]
    return np.stack([np.ones(len(points)), *points.T, *squares], axis=1)
