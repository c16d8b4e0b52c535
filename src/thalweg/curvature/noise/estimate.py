"""The gradient noise scale as a result, and how it is put together from two moments of the gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.curvature.noise.ratio import EXACT, Ratio, Spread, ratio
from thalweg.numbers import number, with_error
from thalweg.objective import Block

Method: TypeAlias = Literal["samples", "batches"]


@dataclass(frozen=True)
class BlockNoise:
    """The noise scale of one parameter's gradient; the fields are those of `NoiseScale`."""

    name: str
    value: float
    stderr: float
    interval: tuple[float, float]
    trace: float
    trace_stderr: float
    squared_norm: float
    squared_norm_stderr: float


@dataclass(frozen=True)
class NoiseScale:
    """The simple noise scale tr Σ/‖G‖², in samples: the batch whose gradient is half signal, half noise.

    G is the gradient of the loss and Σ the covariance of the gradients of single samples, so that the mean gradient of
    B samples drawn with replacement has E‖g‖² = ‖G‖² + tr Σ/B.

    value, stderr: B_simple and its standard error by the delta method; infinite where ‖G‖² is not above 0.
    interval: holds the true value in 95 % of cases (Fieller 1954); without an upper end where ‖G‖² may be 0.
    trace, squared_norm: tr Σ and ‖G‖², unbiased, with their standard errors.
    blocks: the same for each parameter by itself; empty while training.
    gradients: gradients of single samples spent, those of a batch of B counting B.
    converged: whether the standard error asked for was met.
    method: "samples" (exact: all of the data), "batches" or "online"; sizes: small and big batch, if there were two.
    """

    value: float
    stderr: float
    interval: tuple[float, float]
    trace: float
    trace_stderr: float
    squared_norm: float
    squared_norm_stderr: float
    blocks: tuple[BlockNoise, ...]
    gradients: int
    converged: bool
    method: str
    sizes: tuple[int, int] | None = None

    def __str__(self) -> str:
        low, high = self.interval
        between = "" if low == high else f", 95 % within {number(low, 3)} to {number(high, 3)}"
        value = with_error(self.value, self.stderr) if self.stderr else number(self.value, 6)
        exact = "" if self.stderr else ", exact for these data"
        return (
            f"gradient noise scale {value} samples{exact}{between} "
            f"(tr Σ = {number(self.trace)}, ‖G‖² = {number(self.squared_norm)})"
        )


@dataclass(frozen=True)
class Moments:
    """Estimates of tr Σ and ‖G‖² for each parameter and, in the last place, for all: each (blocks + 1,).

    covariance: (blocks + 1, 2, 2), of the two estimates, None where they are exact; `freedom`: its degrees of freedom.
    """

    trace: Tensor
    squared_norm: Tensor
    covariance: Tensor | None
    freedom: float

    def spread(self, place: int) -> Spread:
        """The covariance of the two estimates at one place."""
        if self.covariance is None:
            return EXACT
        (numerator, mixed), (_, denominator) = self.covariance[place].tolist()
        return Spread(numerator, mixed, denominator, self.freedom)

    def ratio(self, place: int = -1) -> Ratio:
        """The noise scale at one place, of all parameters when none is named."""
        return ratio(float(self.trace[place]), float(self.squared_norm[place]), self.spread(place))

    def met(self, rtol: float) -> bool:
        """Whether the noise scale of all parameters is known to `rtol`."""
        found = self.ratio()
        return math.isfinite(found.value) and found.stderr <= rtol * found.value


def moments_of(replicates: Tensor) -> Moments:
    """Moments from independent unbiased estimates (r, blocks + 1, 2) of the pair, r ≥ 2: their means."""
    count = replicates.shape[0]
    apart = replicates - replicates.mean(0)
    covariance = torch.einsum("rki,rkj->kij", apart, apart) / (count - 1) / count
    trace, squared_norm = replicates.mean(0).unbind(1)
    return Moments(trace, squared_norm, covariance, count - 1)


def noise_scale(
    moments: Moments,
    blocks: Sequence[Block],
    *,
    gradients: int,
    converged: bool,
    method: str,
    sizes: tuple[int, int] | None = None,
) -> NoiseScale:
    """The result that the moments give."""

    def parts(
        place: int,
    ) -> tuple[float, float, tuple[float, float], float, float, float, float]:
        found, spread = moments.ratio(place), moments.spread(place)
        return (
            found.value,
            found.stderr,
            found.interval,
            float(moments.trace[place]),
            math.sqrt(spread.numerator),
            float(moments.squared_norm[place]),
            math.sqrt(spread.denominator),
        )

    each = tuple(BlockNoise(block.name, *parts(place)) for place, block in enumerate(blocks))
    return NoiseScale(*parts(-1), each, gradients, converged, method, sizes)
