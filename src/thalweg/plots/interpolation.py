"""Values of a map between its grid points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, points, vector
from thalweg.plots.arrays import grid as checked_grid


def bilinear(alpha: ArrayLike, beta: ArrayLike, values: ArrayLike, at: ArrayLike) -> Floats:
    """Bilinear interpolation of `values` (a, b) over ascending alpha (a,) and beta (b,) at points `at` (t, 2).

    Points outside of the grid are NaN, as are those in a cell with a corner that is not finite.
    """
    x, y, track = vector(alpha, "alpha"), vector(beta, "beta"), points(at, "at")
    field = checked_grid(values, "values", (x.size, y.size))
    i = np.clip(np.searchsorted(x, track[:, 0], side="right") - 1, 0, x.size - 2)
    j = np.clip(np.searchsorted(y, track[:, 1], side="right") - 1, 0, y.size - 2)
    u = (track[:, 0] - x[i]) / (x[i + 1] - x[i])
    v = (track[:, 1] - y[j]) / (y[j + 1] - y[j])
    near = (1 - v) * field[i, j] + v * field[i, j + 1]
    far = (1 - v) * field[i + 1, j] + v * field[i + 1, j + 1]
    inside = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    return np.where(inside, (1 - u) * near + u * far, np.nan)
