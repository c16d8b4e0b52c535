"""The log-determinant of a positive definite matrix, by quadrature that brackets it, over random probes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.estimators.stopping import (
    Estimate,
    Goal,
    Summary,
    check_counts,
    cost,
    standard_error,
    until,
)
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.curvature.spectrum.krylov import Tridiagonal
from thalweg.curvature.spectrum.quadrature import gauss, leading, probe, radau
from thalweg.curvature.spectrum.ritz import Ritz, exhausted, ritz
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error


@dataclass(frozen=True)
class LogDeterminant(Estimate):
    """An estimated ln det(A + shift·I): value ± 2·stderr ± quadrature.

    stderr: of the mean over probes. quadrature: half the mean distance between the bounds from above and below that
    the Lanczos steps give for each probe. smallest: what was taken as a lower bound of the eigenvalues of A.
    """

    quadrature: float
    shift: float
    smallest: float

    def __str__(self) -> str:
        of = f" of A + {number(self.shift)}·I" if self.shift else ""
        quadrature = f" ± {number(self.quadrature, 2)} (quadrature)"
        value = with_error(self.value, self.stderr)
        return f"log-determinant{of} {value}{quadrature}{cost(self.products, self.converged)}"


def log_determinant(
    operator: SymmetricOperator,
    shift: float = 0.0,
    rtol: float = 0.05,
    atol: float = 0.0,
    *,
    lower: float | None = None,
    steps: int = 100,
    max_products: int = 2000,
    min_probes: int = 8,
    seed: int = 0,
) -> LogDeterminant:
    """Estimate ln det(A + shift·I) until stderr + quadrature is at most max(rtol·abs(value), atol) or products run out.

    tr ln(A + shift·I) is averaged over random signs v; for each, Gauss quadrature bounds vᵀ ln(A + shift·I) v from
    above and Gauss-Radau quadrature with a node at the lower end of the spectrum from below. The first probe runs all
    `steps`, the others as many as it turned out to need. value ± (2·stderr + quadrature) covers the log-determinant in
    at least about 95 % of cases. A matrix of no more than 2·steps columns is computed exactly.

    Held are the Lanczos vectors, `steps` + 3, or four vectors where those do not fit into 1 GiB.

    Parameters
    ----------
    shift: added to each eigenvalue.
    atol: absolute error that is good enough; a log-determinant can be near 0.
    lower: a number that no eigenvalue of A is below, such as 0 for a Gauss-Newton matrix. When None it is what the
        first probe shows as the smallest, less its error, or where that reaches down to zero the smallest of
        `eigenpairs`, which may cost some more products than max_products.
    steps: most Lanczos steps for each probe. max_products: at least steps · min_probes.

    Raises
    ------
    InvalidArgument: A + shift·I is not positive definite, or cannot be told from one that is not; A is not symmetric,
        as its products show; a negative tolerance; a count that is too small.

    Sources: Bai & Golub (1996), Bounds for the trace of the inverse and the determinant of symmetric positive definite
    matrices; Ubaru, Chen & Saad (2017).
    """
    require_operator(operator)
    goal = Goal(rtol, atol)
    checks.whole("steps", steps, 2)
    check_counts(max_products, min_probes, steps * min_probes, f"log_determinant with steps={steps}")
    for name, value in (("shift", shift), ("lower", lower)):
        if value is not None and not math.isfinite(value):
            raise InvalidArgument(f"{name} must be finite, got {value}")
    size, begun = operator.shape[0], operator.products
    if size <= 2 * steps:
        eigenvalues = torch.linalg.eigvalsh(operator.dense().double())
        error = 10 * torch.finfo(operator.dtype).eps * size**0.5 * float(eigenvalues.abs().max())
        smallest = float(eigenvalues[0])
        _require_positive(smallest, error, shift)
        return LogDeterminant(float((eigenvalues + shift).log().sum()), 0.0, size, True, 0.0, shift, smallest)
    if lower is not None:
        _require_positive(lower, 0.0, shift)
    quadrature = _Brackets(operator, shift, lower, steps, seed, goal)
    limit = operator.products + max_products
    _, met = until(goal, quadrature.advance, min_probes, lambda: quadrature.affordable(limit))
    value, stderr, half = quadrature.estimate()
    return LogDeterminant(value, stderr, operator.products - begun, met, half, shift, quadrature.lower)


class _Brackets:
    """Bounds of vᵀ ln(A + shift·I) v from below and above, for each probe v."""

    def __init__(
        self,
        operator: SymmetricOperator,
        shift: float,
        lower: float | None,
        steps: int,
        seed: int,
        goal: Goal,
    ) -> None:
        self._operator, self._shift, self._given, self._steps = operator, shift, lower, steps
        self.lower = math.inf if lower is None else lower
        self._seed, self._draw = seed, generator(seed)
        self._goal = goal
        self._found: list[tuple[float, float]] = []

    def affordable(self, limit: int) -> int:
        return (limit - self._operator.products) // self._steps

    def advance(self, count: int) -> Summary:
        for _ in range(count):
            matrix = probe(self._operator, self._steps, self._draw)
            complete = exhausted(matrix, self._steps, self._operator.shape[0])
            self._lower_by(ritz(matrix, complete))
            self._found.append(self._bounds(matrix, complete))
            if len(self._found) == 1:
                self._steps = self._enough(matrix)
        value, stderr, half = self.estimate()
        return value, stderr + half

    def estimate(self) -> tuple[float, float, float]:
        bounds = torch.tensor(self._found, dtype=torch.float64)
        middle = bounds.mean(1)
        squares = (middle - middle.mean()).square().sum()
        stderr = float(standard_error(squares, len(middle)))
        return float(middle.mean()), stderr, float((bounds[:, 1] - bounds[:, 0]).mean() / 2)

    def _lower_by(self, found: Ritz) -> None:
        """Take the smallest Ritz value less its residual into account; a bound that was given must hold."""
        low, residual = float(found.values[0]), float(found.residuals[0])
        _require_positive(low, 0.0, self._shift)
        rounding = 100 * torch.finfo(self._operator.dtype).eps * self._operator.shape[0] ** 0.5
        if self._given is not None:
            if low < self._given - rounding * float(found.values.abs().max()):
                raise InvalidArgument(
                    f"lower={self._given:.6g} is above an eigenvalue: the smallest is at most {low:.6g}"
                )
            return
        if not self._found:
            certain = low + self._shift > 2 * residual
            self.lower = low - residual if certain else _lower_end(self._operator, self._shift, self._seed)
        self.lower = min(self.lower, low)

    def _bounds(self, matrix: Tridiagonal, complete: bool) -> tuple[float, float]:
        size, low = self._operator.shape[0], float(matrix.eigen()[0][0])
        _require_positive(low, 0.0, self._shift)
        above = size * gauss(matrix, self._logarithm)
        # All eigenvalues that the probe shows are nodes then: the quadrature is exact.
        if complete:
            return above, above
        place = min(self.lower, low - 1e-12 * abs(low))
        return min(size * radau(matrix, self._logarithm, place), above), above

    def _logarithm(self, eigenvalues: Tensor) -> Tensor:
        return (eigenvalues + self._shift).log()

    def _enough(self, matrix: Tridiagonal) -> int:
        """The fewest steps with which the bracket was a quarter of the error allowed, and some more."""
        wanted = self._goal.error(sum(self._found[0]) / 2) / 4
        for steps in range(2, matrix.diagonal.numel()):
            low, high = self._bounds(leading(matrix, steps), False)
            if (high - low) / 2 <= wanted:
                return min(steps + 2, self._steps)
        return self._steps


def _lower_end(operator: SymmetricOperator, shift: float, seed: int) -> float:
    """A lower bound on the smallest eigenvalue, tight enough that with the shift it is positive."""
    start, low, error = None, 0.0, math.inf
    for tol in (1e-3, 3e-5, 1e-6, 3e-8):
        wanted = max(tol, torch.finfo(operator.dtype).eps)
        pair = eigenpairs(operator, 1, "smallest", wanted, seed=seed, start=start)
        low, error = float(pair.values[0]), float(pair.residuals[0])
        # No eigenvalue is above its Rayleigh quotient.
        _require_positive(low, 0.0, shift)
        if low + shift > 2 * error:
            return low - error
        start = pair.vectors[:, 0]
    _require_positive(low, error, shift)
    return low - error


def _require_positive(smallest: float, error: float, shift: float) -> None:
    if smallest + shift > error:
        return
    if smallest + shift < -error or not error:
        raise InvalidArgument(
            f"A + shift·I is not positive definite: A has an eigenvalue of {smallest:.6g} or below; "
            f"shift must be above {0 - smallest:.6g}, got {shift:.6g}"
        )
    raise InvalidArgument(
        f"A + shift·I cannot be told from a singular matrix: its smallest eigenvalue is {smallest + shift:.2g} "
        f"± {error:.2g}; shift must be larger than {shift:.6g}"
    )
