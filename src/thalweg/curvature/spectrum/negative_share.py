"""How many eigenvalues are negative, as far as Lanczos runs tell their signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.estimators.stopping import standard_error
from thalweg.curvature.spectrum.ritz import Ritz
from thalweg.numbers import number, with_error

_OPEN = 0.01
"""What the quadrature may leave open at a cut, as a standard error of the share."""
_CONVERGED = 1e-3
"""Residual of a node that stands for one eigenvalue, in units of the distance to the next node."""
_CUTS = 200


@dataclass(frozen=True)
class NegativeShare:
    """The share of eigenvalues below −threshold, nearest to zero where Ritz values tell the two sides apart.

    value ± 2·stderr holds in about 95 % of cases; stderr has what the probes vary by and what is still open there.
    Eigenvalues between −threshold and 0 are not counted.
    """

    value: float
    stderr: float
    threshold: float

    def __str__(self) -> str:
        share = with_error(100 * self.value, 100 * self.stderr)
        return f"{share} % of the eigenvalues are below −{number(self.threshold, 2)}"


def negative_share(runs: Sequence[Ritz], size: int) -> NegativeShare:
    """Of a matrix of `size` eigenvalues from Lanczos runs with residuals, each from another random vector.

    Of the weight below a cut a quadrature leaves open no more than that of the two nodes beside it (the inequalities of
    Chebyshev, Markov and Stieltjes), and of a converged node nothing. The cut is the one nearest to zero at which that
    is a standard error of a hundredth, or a sixth of the weight below.

    Source: Golub & Meurant (2010), chapter 7; Szegő (1939), theorem 3.41.1.
    """
    largest = max(float(run.values.abs().max()) for run in runs)
    rounding = 10 * torch.finfo(torch.float64).eps * size**0.5
    if not largest:
        return NegativeShare(0.0, 0.0, 0.0)
    # From rounding on, by steps of a tenth of a decade or so, up to the largest.
    cuts = largest * torch.logspace(torch.log10(torch.tensor(rounding)).item(), 0, _CUTS, dtype=torch.float64)
    undecided = torch.stack([_open(run, cuts) for run in runs]).mean(0)
    below = torch.stack([_below(run, cuts) for run in runs]).mean(0)
    clear = (undecided <= torch.clamp(below / 6, min=_OPEN)).nonzero()
    at = int(clear[0]) if len(clear) else int(undecided.argmin())
    shares = torch.stack([_below(run, cuts)[at] for run in runs])
    sampling = standard_error((shares - shares.mean()).square().sum(), len(runs))
    return NegativeShare(float(shares.mean()), float(torch.hypot(sampling, undecided[at])), float(cuts[at]))


def _below(run: Ritz, cuts: Tensor) -> Tensor:
    """The weight below −cut, for each of the cuts."""
    return (run.weights[:, None] * (run.values[:, None] < -cuts)).sum(0)


def _open(run: Ritz, cuts: Tensor) -> Tensor:
    """The standard error of the weight below −cut, for each of the cuts, as if it were evenly spread over its range."""
    gaps = run.values.diff()
    nearest = torch.minimum(
        torch.nn.functional.pad(gaps, (1, 0), value=torch.inf),
        torch.nn.functional.pad(gaps, (0, 1), value=torch.inf),
    )
    open_ = run.weights * (run.residuals > _CONVERGED * nearest)
    # Beyond the outermost nodes there is nothing.
    beside = torch.nn.functional.pad(open_, (1, 1))
    above = torch.searchsorted(run.values, -cuts)
    return (beside[above] + beside[above + 1]) / 12**0.5
