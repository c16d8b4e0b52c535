"""The condition number of a matrix that is known by its products, or of its positive part, between bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator, random_vectors
from thalweg.curvature.spectrum.krylov import lanczos
from thalweg.curvature.spectrum.quadrature import leading
from thalweg.curvature.spectrum.ritz import Ritz, exhausted, ritz
from thalweg.errors import InvalidArgument
from thalweg.numbers import number

Part: TypeAlias = Literal["whole", "positive"]

DENSE_UP_TO = 512
"""Dimension up to which all eigenvalues are computed."""

Range: TypeAlias = tuple[float, float]

_HOLD_WITHIN = 2**30
"""Bytes that Lanczos vectors may take."""

_LOOKS = 4
"""Numbers of steps, the last ones, of which the narrowest bounds are taken."""


@dataclass(frozen=True)
class ConditionNumber:
    """κ = largest/smallest between bounds.

    value, low, high: κ lies between low and high; value and high are infinite where the smallest eigenvalue is within
        error of zero, and low says what κ is at least. For the positive part high is at most largest/threshold.
    largest, smallest: the eigenvalues, by absolute value, that κ is the ratio of; smallest_range: what bounds the
        smallest.
    threshold: size up to which an eigenvalue counts as zero.
    converged: whether the bounds are within the relative error asked for. products: matrix-vector products spent.
    """

    value: float
    low: float
    high: float
    largest: float
    smallest: float
    smallest_range: tuple[float, float]
    threshold: float
    part: Part
    products: int
    converged: bool

    def __str__(self) -> str:
        name = "condition number" + (" of the positive part" if self.part == "positive" else "")
        spent = f"({number(self.products)} products)"
        if math.isinf(self.value):
            return f"{name} above {number(self.low)}: the smallest eigenvalue is within error of zero {spent}"
        return f"{name} {number(self.value)}, between {number(self.low)} and {number(self.high)} {spent}"


def condition_number(
    operator: SymmetricOperator,
    part: Part = "whole",
    rtol: float = 0.05,
    *,
    threshold: float | None = None,
    max_products: int = 2000,
    seed: int = 0,
) -> ConditionNumber:
    """Bound the condition number of A until the bounds are within rtol of it or products run out.

    "whole": the largest over the smallest absolute eigenvalue. "positive": the largest eigenvalue over the smallest one
    above `threshold`. Up to n = 512 all eigenvalues are computed. Above, they are Ritz values of a Lanczos run from a
    random start, for the positive part in the range of A, so that exact zeros do not show. κ is at least `low` in any
    case; it is at most `high` if the run has seen the smallest eigenvalue, or if `high` is largest/threshold.

    Held are the Lanczos vectors, at most 1 GiB.

    Parameters
    ----------
    rtol: relative error asked of both bounds.
    threshold: as a fraction of the largest absolute eigenvalue; what products cannot tell from zero, 10·√n·eps, when
        None. Where a dense part of the spectrum reaches down to it, κ of the positive part is near 1/threshold.
    max_products: products that may be spent, at least 100, and n up to n = 512.

    Raises
    ------
    InvalidArgument: an unknown part, a threshold not in [0, 1), a zero matrix, one without positive eigenvalues above
        the threshold where the positive part is wanted, or fewer products than 100.
    """
    require_operator(operator)
    checks.one_of("part", part, get_args(Part))
    checks.positive("rtol", rtol)
    checks.whole("max_products", max_products, 100)
    size, begun = operator.shape[0], operator.products
    rounding = 10 * torch.finfo(operator.dtype).eps * size**0.5 + operator.product_error
    if threshold is not None:
        checks.below_one("threshold", threshold)
    least = min(rounding, 0.5) if threshold is None else threshold
    if size <= DENSE_UP_TO:
        largest, bounds = _dense(operator, part, least, rounding)
    else:
        limit = begun + max_products
        largest, bounds = _lanczos(operator, part, rtol, least, rounding, limit, seed)
    return _result(largest, bounds, least, part, rtol, operator.products - begun)


def _result(
    largest: Range, smallest: Range, threshold: float, part: Part, rtol: float, products: int
) -> ConditionNumber:
    top, (below, above) = sum(largest) / 2, smallest
    zero = threshold * top
    low = largest[0] / above if above else math.inf
    high = largest[1] / below if below > 0 else math.inf
    determined = below > (zero if part == "positive" else 0.0)
    middle = (below + above) / 2 if determined else above
    value = top / middle if below > 0 else math.inf
    met = determined and high <= (1 + rtol) ** 2 * low
    return ConditionNumber(value, low, high, top, middle, smallest, zero, part, products, met)


def _dense(operator: SymmetricOperator, part: Part, threshold: float, rounding: float) -> tuple[Range, Range]:
    eigenvalues = torch.linalg.eigvalsh(operator.dense().double())
    exact = Ritz(eigenvalues, torch.zeros_like(eigenvalues), torch.ones_like(eigenvalues))
    return _within(exact, part, threshold, rounding)


def _lanczos(
    operator: SymmetricOperator,
    part: Part,
    rtol: float,
    threshold: float,
    rounding: float,
    limit: int,
    seed: int,
) -> tuple[Range, Range]:
    """The largest and the smallest of the eigenvalues that count, by Lanczos runs of doubling length."""
    size = operator.shape[0]
    most = max(_HOLD_WITHIN // (size * operator.dtype.itemsize), 32)
    steps = min(64, most)
    while True:
        start = random_vectors(operator, 1, generator(seed))[:, 0]
        if part == "positive":
            start = operator @ start
            _require_nonzero(float(start.norm()))
        run = lanczos(operator, start, steps, reorthogonalize=True)
        complete = exhausted(run, steps, size)
        # Inside a gap of the spectrum, zero between its ends say, stands a Ritz value that converges to nothing at
        # some steps and none at others.
        counts = [run.diagonal.numel() - back for back in range(1 if complete else _LOOKS)]
        found = [_within(ritz(leading(run, count), complete), part, threshold, rounding) for count in counts]
        largest, smallest = min(found, key=lambda one: one[1][1] / one[1][0] if one[1][0] > 0 else math.inf)
        below, above = smallest
        longer = min(2 * steps, most, limit - operator.products - 1)
        if 0 < above <= (1 + rtol) * below or longer <= steps or complete:
            return largest, smallest
        steps = longer


def _within(found: Ritz, part: Part, threshold: float, rounding: float) -> tuple[Range, Range]:
    norm = float(found.values.abs().max())
    _require_nonzero(norm)
    if part == "positive":
        return _positive(found.values, found.residuals, threshold * norm, rounding * norm)
    return _whole(found.values, found.residuals, rounding * norm)


def _whole(values: Tensor, residuals: Tensor, rounding: float) -> tuple[Range, Range]:
    sizes = values.abs()
    top = int(sizes.argmax())
    # No eigenvalue is smaller, in size, than the largest Rayleigh quotient.
    largest = float(sizes[top]), float(sizes[top] + residuals[top]) + rounding
    below, above = float((sizes - residuals).min()) - rounding, float((sizes + residuals).min()) + rounding
    return largest, (max(below, 0.0), above)


def _positive(values: Tensor, residuals: Tensor, zero: float, rounding: float) -> tuple[Range, Range]:
    top = int(values.argmax())
    if float(values[top] + residuals[top]) <= zero:
        raise InvalidArgument(
            f"A has no eigenvalue above the threshold {zero:.2g}: it has no positive part; the largest is "
            f"{float(values[top]):.4g}"
        )
    below, above = values - residuals, values + residuals
    possible = float(below[above > zero].min())
    certain = below > zero
    smallest = float(above[certain].min()) if bool(certain.any()) else float(above[top])
    largest = float(values[top]), float(above[top]) + rounding
    return largest, (max(possible - rounding, zero), smallest + rounding)


def _require_nonzero(norm: float) -> None:
    if not norm:
        raise InvalidArgument("the condition number needs a matrix that is not zero")
