"""Honest splits of a data set into training and test samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# One seed for every bundled data set, so that reported test errors are comparable between versions.
SPLIT_SEED = 0


def stratified_split(labels: NDArray[Any], test_fraction: float = 0.2) -> tuple[Indices, Indices]:
    """Indices (train, test), disjoint, each class in the same proportion in both; always the same split.

    `labels` has shape (n,); the two results have shapes (n − m,) and (m,) with m = ⌈test_fraction · n⌉.
    """
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_fraction, stratify=labels, random_state=SPLIT_SEED
    )
    return np.asarray(train), np.asarray(test)


def grouped_split(rows: NDArray[Any], test_fraction: float = 0.2) -> tuple[Indices, Indices]:
    """Indices (train, test), disjoint, with equal rows on the same side; always the same split.

    `rows` has shape (n, features). Repeated measurements of one specimen on both sides would make the test
    error a training error; `test_fraction` counts distinct rows.
    """
    from sklearn.model_selection import GroupShuffleSplit

    groups = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    splitter = GroupShuffleSplit(n_splits=1, test_size=test_fraction, random_state=SPLIT_SEED)
    train, test = next(splitter.split(rows, groups=groups))
    return train, test
