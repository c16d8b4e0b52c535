"""How the index of critical points goes with their loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from thalweg.checks import between
from thalweg.curvature.critical.result import CriticalPoints
from thalweg.numbers import number

_SAME = 1e-9


@dataclass(frozen=True)
class IndexAgainstLoss:
    """Pairs of loss and index, lowest loss first.

    losses: (m,). index_fractions: (m,), the index over the dimension. copies: (m,), how many points have this pair.
    correlation: Spearman's rank correlation of the two; low, high: its interval, at the given level. NaN where
        either is constant, the interval for fewer than four pairs.
    """

    losses: Tensor
    index_fractions: Tensor
    copies: Tensor
    correlation: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        count = len(self.losses)
        if not count:
            return "no critical points"
        ends = f"index fraction {number(float(self.index_fractions[0]), 2)} at the lowest"
        ends += f", {number(float(self.index_fractions[-1]), 2)} at the highest"
        over = f"over {count} critical point{'' if count == 1 else 's'}; {ends}"
        if math.isnan(self.correlation):
            return f"no correlation of index and loss, of which one is constant, {over}"
        known = not math.isnan(self.low)
        interval = f" ({number(self.low, 2)} to {number(self.high, 2)})" if known else ""
        return f"Spearman correlation of index and loss {number(self.correlation, 2)}{interval} {over}"


def index_against_loss(found: CriticalPoints, *, level: float = 0.95) -> IndexAgainstLoss:
    """The index fraction of each critical point beside its loss, and their rank correlation.

    Points of equal index whose losses agree to nine digits count once: in a network they are mostly copies of each
    other under exchanged or mirrored units, and no evidence of their own. Points that are no minimum, maximum or saddle
    beyond doubt count with the negative eigenvalues that are sure. The interval is Bonett and Wright's, for independent
    points; those of a search are a sample that depends on its starts.

    Raises InvalidArgument unless 0 < level < 1.

    Source: Bonett & Wright (2000), Sample size requirements for estimating Pearson, Kendall and Spearman correlations.
    """
    between("level", level)
    losses, index = found.losses, found.index
    pairs: list[int] = []
    copies: list[int] = []
    for i in range(len(losses)):
        for j, known in enumerate(pairs):
            apart = abs(float(losses[i] - losses[known]))
            if index[i] == index[known] and apart <= _SAME * max(1.0, abs(float(losses[known]))):
                copies[j] += 1
                break
        else:
            pairs.append(i)
            copies.append(1)
    chosen = torch.tensor(pairs, dtype=torch.long)
    correlation = spearman(losses[chosen], index[chosen].double())
    low, high = spearman_interval(correlation, len(pairs), level)
    return IndexAgainstLoss(
        losses[chosen], found.index_fraction[chosen], torch.tensor(copies), correlation, low, high, level
    )


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of `a` and `b` (m,), ties at their mean rank; NaN where one is constant."""
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return max(-1.0, min(1.0, float(x @ y) / scale)) if scale > 0 else math.nan


def spearman_interval(correlation: float, count: int, level: float) -> tuple[float, float]:
    """The interval of a rank correlation of `count` pairs: Fisher's z with variance (1 + r²/2) / (count − 3).

    A perfect correlation, where z is infinite, counts as half an exchange of neighbours away from it.
    """
    if count < 4 or math.isnan(correlation):
        return math.nan, math.nan
    quantile = NormalDist().inv_cdf((1 + level) / 2)
    half = quantile * math.sqrt((1 + correlation**2 / 2) / (count - 3))
    most = 1 - 6 / (count * (count**2 - 1))
    z = math.atanh(max(-most, min(most, correlation)))
    low, high = math.tanh(z - half), math.tanh(z + half)
    return min(low, correlation), max(high, correlation)


def _ranks(values: Tensor) -> Tensor:
    """The ranks of `values` (m,), float64, equal values at their mean rank."""
    _, group, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[group]
