"""Eigenvalues that stand apart from the bulk, read off the Lanczos runs of a spectral density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from thalweg.curvature.estimators.stopping import standard_error
from thalweg.curvature.spectrum.ritz import Ritz
from thalweg.numbers import with_error

RARE = 0.1
"""Largest share of the eigenvalues that may lie in one place outside the bulk and be called outliers."""


@dataclass(frozen=True)
class Outlier:
    """An eigenvalue apart from the bulk.

    value, error: an eigenvalue lies within error of value. count, count_stderr: how many eigenvalues are there, from
    the weight that the probes give them.
    """

    value: float
    error: float
    count: float
    count_stderr: float

    def __str__(self) -> str:
        return with_error(self.value, self.error)


@dataclass(frozen=True)
class _Nodes:
    """Ritz values of all probes, ascending, each with its residual, its weight and the probe that it came from."""

    values: Tensor
    residuals: Tensor
    weights: Tensor
    probes: Tensor


def outliers(runs: Sequence[Ritz], size: int, width: float) -> tuple[Outlier, ...]:
    """The eigenvalues apart from the bulk, descending, of a matrix with `size` of them.

    The bulk reaches over all Ritz values that have not converged to a tenth of `width` in each probe, or hold more
    than a tenth of all weight, and on to whatever lies within 2·width of it: nearer, two Gaussians of that width merge.
    Outliers are the places beyond.
    """
    if not runs:
        return ()
    nodes = _nodes(runs)
    # Places are told apart as far as the residuals allow.
    places = [_Place(nodes, here, len(runs)) for here in _split(nodes.values, nodes.residuals)]
    bulk = [place for place in places if place.share > RARE or place.error > width / 10]
    if not bulk:
        return ()
    low, high = min(place.low for place in bulk), max(place.high for place in bulk)
    below, above = [p for p in places if p.high < low], [p for p in places if p.low > high]
    for place in reversed(below):
        if low - place.high > 2 * width:
            break
        low = place.low
    for place in above:
        if place.low - high > 2 * width:
            break
        high = place.high
    return tuple(p.outlier(size) for p in reversed(places) if p.high < low or p.low > high)


class _Place:
    """Ritz values of several probes that may stand for one eigenvalue."""

    def __init__(self, nodes: _Nodes, here: slice, probes: int) -> None:
        values, residuals = nodes.values[here], nodes.residuals[here]
        best = int(residuals.argmin())
        self.value = float(values[best])
        self.low, self.high = float((values - residuals).min()), float((values + residuals).max())
        shares = torch.zeros(probes, dtype=torch.float64)
        self._shares = shares.index_add(0, nodes.probes[here], nodes.weights[here])
        self.share = float(self._shares.mean())
        self._residual = float(residuals[best])
        # Probes that do not show it leave open whether it is there at all.
        everywhere = nodes.probes[here].unique().numel() == probes
        self.error = max(self.high - self.value, self.value - self.low) if everywhere else math.inf

    def outlier(self, size: int) -> Outlier:
        counts = size * self._shares
        rounding = 1e-12 * abs(self.value)
        return Outlier(
            self.value,
            self._residual + rounding,
            float(counts.mean()),
            float(standard_error((counts - counts.mean()).square().sum(), counts.numel())),
        )


def _nodes(runs: Sequence[Ritz]) -> _Nodes:
    order = torch.cat([run.values for run in runs]).argsort()
    probes = [torch.full((run.values.numel(),), probe) for probe, run in enumerate(runs)]
    return _Nodes(
        torch.cat([run.values for run in runs])[order],
        torch.cat([run.residuals for run in runs])[order],
        torch.cat([run.weights for run in runs])[order],
        torch.cat(probes)[order],
    )


def _split(values: Tensor, reach: Tensor) -> list[slice]:
    """Runs of ascending `values` whose neighbours are no further apart than their reaches and rounding together."""
    apart = (values[1:] - values[:-1]) > reach[1:] + reach[:-1] + 1e-9 * values.abs().max()
    edges = [0, *(torch.nonzero(apart).flatten() + 1).tolist(), values.numel()]
    return [slice(start, stop) for start, stop in pairwise(edges)]
