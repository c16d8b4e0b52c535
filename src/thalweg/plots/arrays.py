"""Checked input of figures."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.errors import InvalidArgument

Floats: TypeAlias = NDArray[np.float64]


def vector(values: ArrayLike, name: str, size: int | None = None) -> Floats:
    """`values` as floats (k,); raises InvalidArgument for another shape or, where `size` is given, length."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (size is not None and array.size != size):
        wanted = "a sequence of numbers" if size is None else f"a sequence of {size} numbers"
        raise InvalidArgument(f"{name} must be {wanted}, got shape {array.shape}")
    return array


def grid(values: ArrayLike, name: str, shape: tuple[int, int]) -> Floats:
    """`values` as floats (a, b), infinities as NaN; raises InvalidArgument for another shape."""
    # Copied in two steps, for torch's tensors do not know NumPy's copy argument.
    array = np.asarray(values, dtype=np.float64).copy()
    if array.shape != shape:
        raise InvalidArgument(f"{name} must have shape {shape}, one value per point, got {array.shape}")
    array[~np.isfinite(array)] = np.nan
    return array


def points(values: ArrayLike | None, name: str) -> Floats:
    """`values` as floats (t, 2), t = 0 for None; raises InvalidArgument for another shape."""
    if values is None:
        return np.empty((0, 2))
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise InvalidArgument(f"{name} must have shape (t, 2), got {array.shape}")
    return array
