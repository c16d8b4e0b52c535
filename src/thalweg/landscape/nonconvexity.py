"""One number for how far from convex a slice's surroundings are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import InvalidArgument
from thalweg.landscape.pointwise import TOL
from thalweg.landscape.slice import Slice
from thalweg.numbers import with_error


@dataclass(frozen=True)
class NonConvexity:
    """How far from convex the Hessian is over the points of a slice.

    ratio, error: the mean of abs(λmin/λmax), and what the eigenvalues' own tolerance leaves open; 0 where convex.
    negative: share of the points with a direction that curves downward beyond that tolerance.
    points: at which both eigenvalues are finite, and λmax is not 0 where λmin is negative.
    """

    ratio: float
    error: float
    negative: float
    points: int

    def __str__(self) -> str:
        return (
            f"mean |λmin/λmax| {with_error(self.ratio, self.error)}, a negative direction at "
            f"{100 * self.negative:.0f} % of {self.points} points"
        )


def convexity_ratios(largest: NDArray[np.float64], smallest: NDArray[np.float64]) -> NDArray[np.float64]:
    """abs(λmin/λmax) of arrays of one shape: 0 where λmin is not negative, NaN where it is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(smallest < 0, -smallest / np.abs(largest), smallest * 0 + largest * 0)
    return np.where(np.isfinite(ratios) & np.isfinite(largest), ratios, np.nan)


def nonconvexity(found: Slice) -> NonConvexity:
    """Of a slice with the metrics "lambda_max" and "lambda_min", eigenvalues of the whole Hessian.

    A λmin above zero counts as 0. Raises InvalidArgument for a slice without them, or where neither is finite.
    Source: Li et al. (2018), section 5, who draw the ratio as a map.
    """
    missing = [name for name in ("lambda_max", "lambda_min") if name not in found.values]
    if missing:
        raise InvalidArgument(f"the slice lacks {' and '.join(missing)}: evaluate it with these metrics")
    largest, smallest = (found.values[name].ravel() for name in ("lambda_max", "lambda_min"))
    known = np.isfinite(convexity_ratios(largest, smallest))
    if not known.any():
        raise InvalidArgument(
            "the slice has no point with eigenvalues that are finite and a λmax other than 0"
        )
    largest, smallest = largest[known], smallest[known]
    edge = np.maximum(np.abs(largest), np.abs(smallest))
    ratios = convexity_ratios(largest, smallest)
    # Both are known to a hundredth of the larger one.
    share = TOL * np.maximum(1, ratios)
    error = float(np.mean(np.where(share < 1, share * (1 + ratios) / np.maximum(1 - share, TOL), np.inf)))
    negative = float(np.mean(smallest < -TOL * edge))
    return NonConvexity(float(ratios.mean()), error, negative, int(known.sum()))
