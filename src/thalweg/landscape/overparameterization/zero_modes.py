"""How many directions the loss does not curve in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.checks import one_of, positive
from thalweg.curvature import SymmetricOperator, eigenpairs, ggn, hessian, spectral_density
from thalweg.numbers import number, with_error
from thalweg.objective import AbstractObjective, Objective, require_objective

Matrix: TypeAlias = Literal["hessian", "ggn"]

DENSE_UP_TO = 1024
"""Dimension up to which all eigenvalues are computed."""


@dataclass(frozen=True)
class ZeroModes:
    """Eigenvalues that are zero, or as good as.

    count, error: how many of the `size` eigenvalues are within `tolerance` of zero, and its standard error, 0 where all
    were computed. tolerance: in units of the matrix.
    bound: most eigenvalues of a Gauss-Newton matrix that can be other than zero, one for each output of each sample;
    None where it is not below `size`, or the matrix is another.
    products: matrix-vector products spent.
    """

    count: float
    error: float
    size: int
    tolerance: float
    matrix: Matrix
    bound: int | None
    products: int

    @property
    def rank(self) -> float:
        """Eigenvalues that are not within tolerance of zero."""
        return self.size - self.count

    def __str__(self) -> str:
        count = number(self.count) if not self.error else with_error(self.count, self.error)
        text = f"{count} of {self.size:,} eigenvalues are within {number(self.tolerance, 2)} of zero"
        return text if self.bound is None else f"{text}; at least {self.size - self.bound:,} must be"


def zero_modes(
    obj: AbstractObjective,
    theta: Tensor | None = None,
    *,
    matrix: Matrix = "ggn",
    rtol: float = 1e-4,
    probes: int = 8,
    seed: int = 0,
) -> ZeroModes:
    """Count the eigenvalues at θ (n,) that are at most `rtol` of the largest one in size.

    Up to n = 1,024 all are computed; above, their share is estimated from the spectral density's quadrature with
    `probes` random vectors, which tells eigenvalues from zero only where some of them converged.

    Parameters
    ----------
    matrix: "ggn", the Gauss-Newton matrix, whose zero modes leave every output as it is, to first order; or "hessian".

    Raises
    ------
    InvalidArgument: an unknown matrix, rtol not positive, or an objective without a Gauss-Newton matrix.

    Source: Sagun et al. (2018), Empirical analysis of the Hessian of over-parametrized neural networks.
    """
    require_objective(obj)
    one_of("matrix", matrix, get_args(Matrix))
    positive("rtol", rtol)
    with matrix_at(obj, theta, matrix) as operator:
        if obj.size <= DENSE_UP_TO:
            values = torch.linalg.eigvalsh(operator.dense().double())
            edge = rtol * float(values.abs().max())
            count, error = float((values.abs() <= edge).sum()), 0.0
        else:
            edge = rtol * largest(operator, seed)
            found = spectral_density(operator, probes, 100, seed=seed)
            shares = torch.tensor(
                [float(w[n.abs() <= edge].sum()) for n, w in zip(found.nodes, found.weights, strict=True)]
            )
            count = obj.size * float(shares.mean())
            error = obj.size * float(shares.std()) / len(shares) ** 0.5
        products = operator.products
    return ZeroModes(count, error, obj.size, edge, matrix, _bound(obj, matrix), products)


def matrix_at(obj: AbstractObjective, theta: Tensor | None, matrix: Matrix) -> SymmetricOperator:
    """The operator called `matrix` at θ (n,)."""
    return ggn(obj, theta) if matrix == "ggn" else hessian(obj, theta)


def largest(operator: SymmetricOperator, seed: int) -> float:
    """The largest eigenvalue in size, to a hundredth."""
    return float(eigenpairs(operator, 1, "magnitude", 1e-2, seed=seed).values.abs()[0])


def _bound(obj: AbstractObjective, matrix: Matrix) -> int | None:
    """Outputs of all samples: the rank of the Gauss-Newton matrix is not above."""
    if matrix != "ggn" or not isinstance(obj, Objective):
        return None
    outputs = 0
    with obj.evaluating(derivatives=False):
        for _, batch in obj.batches:
            outputs += obj.module.output_target(batch)[0].numel()
    return outputs if outputs < obj.size else None
