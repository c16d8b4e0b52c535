"""Functions of a matrix summed over its eigenvalues, by Lanczos quadrature from random probes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import random_vectors
from thalweg.curvature.spectrum.known import Known
from thalweg.curvature.spectrum.krylov import Tridiagonal, lanczos

_HOLD_WITHIN = 2**30
"""Bytes of Lanczos vectors up to which they are held."""


def probe(
    operator: SymmetricOperator,
    steps: int,
    draw: torch.Generator,
    known: Known | None = None,
    reorthogonalize: bool | None = None,
) -> Tridiagonal:
    """`steps` Lanczos steps from random signs v, off what is `known`: Σ weight · f(node) is vᵀf(A)v/‖v‖².

    Vectors are held and re-orthogonalized, unless told otherwise, while they fit into 1 GiB.
    """
    start = random_vectors(operator, 1, draw, "rademacher")[:, 0]
    if reorthogonalize is None:
        reorthogonalize = steps * operator.shape[0] * operator.dtype.itemsize <= _HOLD_WITHIN
    return lanczos(
        operator, start if known is None else known.without(start), steps, reorthogonalize=reorthogonalize
    )


def leading(matrix: Tridiagonal, steps: int) -> Tridiagonal:
    """What `steps` steps would have given."""
    return Tridiagonal(matrix.diagonal[:steps], matrix.off_diagonal[: max(steps - 1, 0)])


def gauss(matrix: Tridiagonal, function: Callable[[Tensor], Tensor]) -> float:
    """Σ weight · f(node) by Gauss quadrature: exact for polynomials of degree 2·steps − 1."""
    nodes, weights = matrix.eigen()
    return float((weights * function(nodes)).sum() / weights.sum())


def radau(matrix: Tridiagonal, function: Callable[[Tensor], Tensor], place: float) -> float:
    """The same by Gauss-Radau quadrature, with a node prescribed at `place`, below all eigenvalues.

    Source: Golub & Meurant (2010), section 6.2: the last diagonal entry is chosen such that `place` is a node.
    """
    steps = matrix.diagonal.numel()
    if steps == 1:
        return float(function(torch.tensor([place], dtype=torch.float64)))
    before = leading(matrix, steps - 1)
    shifted = torch.diag(before.diagonal - place)
    if steps > 2:
        shifted += torch.diag(before.off_diagonal, 1) + torch.diag(before.off_diagonal, -1)
    unit = torch.zeros(steps - 1, dtype=torch.float64)
    unit[-1] = matrix.off_diagonal[-1] ** 2
    last = place + float(torch.linalg.solve(shifted, unit)[-1])
    diagonal = torch.cat([before.diagonal, torch.tensor([last], dtype=torch.float64)])
    return gauss(Tridiagonal(diagonal, matrix.off_diagonal), function)
