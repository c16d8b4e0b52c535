"""Tables: two classification data sets that come with scikit-learn, and the strength of concrete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from thalweg.errors import InvalidArgument
from thalweg.problems.data_file import find_data_file
from thalweg.problems.mlp import MLP, hidden_sizes
from thalweg.problems.problem import Problem, Training
from thalweg.problems.split import Indices, grouped_split, stratified_split


@dataclass(frozen=True)
class Standardized:
    """A table split into training and test rows, each column standardized by its training rows.

    `train` and `test` have shape (rows, columns), float32; value = standardized · `std` + `mean`, where
    `std` and `mean` have shape (columns,) and the units of the table.
    """

    train: Tensor
    test: Tensor
    mean: Tensor
    std: Tensor


def standardize(table: NDArray[Any], train: Indices, test: Indices) -> Standardized:
    """Shift and scale each column to mean 0 and variance 1 over the training rows.

    A column that is constant over them is only shifted. `table` has shape (rows, columns).
    """
    mean, std = table[train].mean(axis=0), table[train].std(axis=0)
    std = np.where(std > 0, std, 1.0)
    scaled = torch.tensor((table - mean) / std, dtype=torch.float32)
    return Standardized(
        scaled[torch.from_numpy(train)], scaled[torch.from_numpy(test)], torch.tensor(mean), torch.tensor(std)
    )


def wine(hidden: Sequence[int] = (32,), activation: str = "relu") -> Problem:
    """Three cultivars of wine told apart by 13 chemical measurements of 178 samples; cross-entropy.

    x is float32 (n, 13), standardized by the training rows; y is int64 (n,). Split 80:20 within classes.
    """
    from sklearn.datasets import load_wine

    return _classification("wine", load_wine, hidden, activation, "M. Forina et al.: Wine, UCI 1991")


def breast_cancer(hidden: Sequence[int] = (32,), activation: str = "relu") -> Problem:
    """Malignant and benign tumours told apart by 30 measurements of 569 cell images; cross-entropy.

    x is float32 (n, 30), standardized by the training rows; y is int64 (n,). Split 80:20 within classes.
    """
    from sklearn.datasets import load_breast_cancer

    source = "W. Wolberg et al.: Breast Cancer Wisconsin (Diagnostic), UCI 1993"
    return _classification("breast_cancer", load_breast_cancer, hidden, activation, source)


def _classification(name: str, load: Any, hidden: Sequence[int], activation: str, source: str) -> Problem:
    features, labels = load(return_X_y=True)
    train, test = stratified_split(labels)
    x = standardize(features, train, test)
    y = torch.tensor(labels, dtype=torch.int64)
    sizes = (features.shape[1], *hidden_sizes(hidden), int(labels.max()) + 1)
    return Problem(
        name=name,
        model=lambda: MLP(sizes, activation),
        loss_fn=cross_entropy,
        train=(x.train, y[torch.from_numpy(train)]),
        test=(x.test, y[torch.from_numpy(test)]),
        training=Training("momentum", lr=0.05, momentum=0.9, batch_size=32, epochs=20),
        description=f"{name.replace('_', ' ')} table, MLP {'-'.join(map(str, sizes))}, {activation}",
        source=f"{source} (scikit-learn's copy)",
    )


def concrete(
    hidden: Sequence[int] = (64, 64), activation: str = "relu", *, path: str | os.PathLike[str] | None = None
) -> Problem:
    """Compressive strength of 1,030 concrete specimens from their mix and age; mean squared error.

    x is float32 (n, 8): seven amounts in kg/m³ and the age in days; y is float32 (n, 1): the strength in
    MPa; all standardized by the training rows, so that the loss is the fraction of unexplained variance
    there. The root mean squared error in MPa is √loss times the deviation that the description states.
    Split 80:20 with repeated measurements of one mix and age on the same side.

    `path` is the CSV or its folder; by default it is looked for in the folder THALWEG_DATA. Raises
    MissingData when it is not there and InvalidArgument for a file that is not such a table.
    """
    table = read_table(
        find_data_file(
            "concrete.csv",
            path,
            content="1,030 concrete mixes: eight features and the strength in MPa",
            remedy="Get it from https://archive.ics.uci.edu/dataset/165 and save the sheet as CSV.",
        )
    )
    if table.shape[1] != 9:
        raise InvalidArgument(
            f"concrete.csv must have eight features and the strength, got {table.shape[1]} columns"
        )
    train, test = grouped_split(table[:, :8])
    x, y = standardize(table[:, :8], train, test), standardize(table[:, 8:], train, test)
    sizes = (8, *hidden_sizes(hidden), 1)
    return Problem(
        name="concrete",
        model=lambda: MLP(sizes, activation),
        loss_fn=mse_loss,
        train=(x.train, y.train),
        test=(x.test, y.test),
        training=Training("adam", lr=3e-3, batch_size=32, epochs=100),
        metrics=("loss",),
        description=f"concrete strength (deviation {y.std.item():.2f} MPa), MLP {'-'.join(map(str, sizes))}",
        source="I.-C. Yeh: Modeling of strength of high-performance concrete, Cem. Concr. Res. 28, 1998",
    )


def read_table(path: Path) -> NDArray[np.float64]:
    """The numbers of a CSV file under one header line, of shape (rows, columns).

    Raises InvalidArgument where a cell is not a finite number or a row has another length.
    """
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise InvalidArgument(f"{path}: not a table of numbers under one header line: {error}") from error
    if not len(table) or not np.isfinite(table).all():
        raise InvalidArgument(f"{path}: the table must have rows, and finite numbers in all of them")
    return table
