"""When an estimate from random probes is good enough, and how far off it may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scipy.special import stdtr, stdtrit
from torch import Tensor

from thalweg import checks
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error

COVERAGE = 2 * float(stdtr(math.inf, 2.0)) - 1
"""How often two standard errors hold, 95.4 %."""


@dataclass(frozen=True)
class Estimate:
    """A number from random probes.

    value, stderr: value ± 2·stderr holds the true one in about 95 % of cases.
    products: matrix-vector products spent. converged: whether the error asked for was met.
    """

    value: float
    stderr: float
    products: int
    converged: bool

    def __str__(self) -> str:
        return f"{with_error(self.value, self.stderr)}{cost(self.products, self.converged)}"


def cost(products: int, converged: bool) -> str:
    """ " (40 products)", and whether they were too few."""
    return f" ({number(products)} products{'' if converged else ', not converged'})"


@dataclass(frozen=True)
class Goal:
    """The error that is good enough for an estimate of a given size: max(rtol·size, atol)."""

    rtol: float
    atol: float = 0.0

    def __post_init__(self) -> None:
        checks.not_negative("rtol", self.rtol)
        checks.not_negative("atol", self.atol)

    def error(self, size: float) -> float:
        """The largest error allowed."""
        return max(self.rtol * abs(size), self.atol)


Summary: TypeAlias = tuple[float, float]
"""The size of an estimate and its standard error; of a vector, the norms of both."""


def until(
    goal: Goal, advance: Callable[[int], Summary], least: int, affordable: Callable[[], int]
) -> tuple[Summary, bool]:
    """Take probes by `advance(count)` until the goal is met or no more are affordable; the last summary, and whether.

    First `least` are taken, which must be affordable, then as many as the spread says are missing, though never more
    than half of those that there are: few looks, for each is a chance to stop at a spread that happens to be small.
    """
    taken, count = 0, least
    while True:
        size, stderr = advance(count)
        taken += count
        wanted = goal.error(size)
        room = affordable()
        if stderr <= wanted or room < 1:
            return (size, stderr), stderr <= wanted
        missing = taken * ((stderr / wanted) ** 2 - 1) if wanted else math.inf
        count = math.ceil(min(missing, max(taken / 2, 1), room))


def standard_error(squares: Tensor, count: int) -> Tensor:
    """The standard error of the mean of `count` values, of which `squares` sums the squared deviations from it.

    It is widened by Student's t for the degrees of freedom, so that two of them hold at the normal rate.
    """
    widening = float(stdtrit(count - 1, (1 + COVERAGE) / 2)) / 2
    return widening * (squares / (count - 1) / count).sqrt()


def check_counts(max_products: int, min_probes: int, fewest: int, what: str) -> None:
    """Raise InvalidArgument for fewer than two probes, or fewer products than the `fewest` of `what`."""
    checks.whole("min_probes", min_probes, 2)
    checks.whole("max_products", max_products)
    if max_products < fewest:
        raise InvalidArgument(
            f"max_products must be at least {fewest} for {what} with min_probes={min_probes}, got {max_products}"
        )
