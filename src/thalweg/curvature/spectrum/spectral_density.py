"""The density of a matrix's eigenvalues by stochastic Lanczos quadrature, with a band."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.estimators.stopping import Goal, Summary, cost, standard_error, until
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs
from thalweg.curvature.spectrum.known import Known
from thalweg.curvature.spectrum.krylov import Tridiagonal
from thalweg.curvature.spectrum.negative_share import NegativeShare, negative_share
from thalweg.curvature.spectrum.outliers import Outlier, outliers
from thalweg.curvature.spectrum.quadrature import leading, probe
from thalweg.curvature.spectrum.ritz import Ritz, exhausted, ritz
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error


@dataclass(frozen=True)
class Statistic:
    """A mean over probes: value ± 2·stderr holds in about 95 % of cases."""

    value: float
    stderr: float

    def __str__(self) -> str:
        return with_error(self.value, self.stderr)


@dataclass(frozen=True)
class SpectralDensity:
    """The distribution of n eigenvalues, as estimated from random probes.

    grid: (g,) eigenvalues; density: (g,) mean over probes, integrates to 1. stderr: (g,) of that mean and of the
        quadrature: density ± 2·stderr holds the eigenvalues' density, broadened by `width`, at about 95 % of points.
    width: standard deviation of the Gaussian that each node was broadened by.
    nodes, weights: for each probe the quadrature's nodes (Ritz values) and weights, which sum to 1.
    fraction_negative: the share of negative eigenvalues, down to a threshold near zero that it names.
    outliers: eigenvalues that stand apart from the bulk by more than 2·width, descending.
    products: matrix-vector products spent. converged: whether the error asked for was met.
    """

    grid: Tensor
    density: Tensor
    stderr: Tensor
    width: float
    nodes: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    size: int
    products: int
    fraction_negative: NegativeShare
    outliers: tuple[Outlier, ...] = ()
    converged: bool = True

    def moment(self, power: int) -> Statistic:
        """Mean of λ to the given power over the eigenvalues: exact in expectation up to power 2·steps − 1."""
        return _over_probes(
            [float((w * n**power).sum()) for n, w in zip(self.nodes, self.weights, strict=True)]
        )

    @property
    def moments(self) -> tuple[Statistic, ...]:
        """The first four moments of the eigenvalues; n times the first is the trace."""
        return tuple(self.moment(power) for power in range(1, 5))

    @property
    def relative_error(self) -> float:
        """The band's area, as a share of that under the density."""
        return float(torch.trapezoid(self.stderr, self.grid))

    def __str__(self) -> str:
        low, high = (float(x) for x in _range(self.nodes))
        apart = f"{len(self.outliers)} outlier{'' if len(self.outliers) == 1 else 's'}"
        if self.outliers:
            apart += f" (largest in size {max(self.outliers, key=lambda one: abs(one.value))})"
        return (
            f"density of {number(self.size)} eigenvalues from {number(low)} to {number(high)}, {apart}, "
            f"{self.fraction_negative}, error {number(100 * self.relative_error, 2)} %"
            f"{cost(self.products, self.converged)}"
        )


def spectral_density(
    operator: SymmetricOperator,
    probes: int = 8,
    steps: int = 64,
    *,
    width: float | None = None,
    grid: Tensor | int = 512,
    reorthogonalize: bool | None = None,
    rtol: float | None = None,
    max_probes: int = 64,
    pairs: Eigenpairs | None = None,
    seed: int = 0,
) -> SpectralDensity:
    """Estimate the eigenvalue density from `probes` random vectors with `steps` Lanczos steps each.

    Single eigenvalues far from the others, which make the heights of their peaks and the higher moments vary by half
    their size with 8 probes, are exact where they are known: by `pairs`. Without, ± 2·stderr holds less often there,
    in about 88 % of cases, for the weights of a single eigenvalue are skewed.

    Parameters
    ----------
    width: broadening of the nodes, in units of the eigenvalues; 1/100 of their range when None.
    grid: points at which the density is wanted, or how many of them to spread over the range.
    reorthogonalize: hold all Lanczos vectors (steps · n numbers) to keep them orthogonal, or no more than four
        vectors, start and product included; None keeps them while they fit into 1 GiB.
    rtol: further probes are taken, up to `max_probes`, until the band's area is at most this share of the density's.
        More probes do not make the quadrature finer: where the band stays too wide, more steps or width are needed.
    pairs: eigenpairs that are known. The converged ones enter as they are, and the probes lose their parts along them.

    Raises
    ------
    InvalidArgument: probes below 2 (there would be no band), steps below 1, a grid of fewer than 2 points, width
        not positive and finite, rtol negative; a matrix that its products show to be not symmetric.

    Sources: Golub & Meurant (2010); Ghorbani et al. (2019), algorithm 1.
    """
    require_operator(operator)
    points = grid if isinstance(grid, int) else grid.numel()
    for name, value, least in (("probes", probes, 2), ("steps", steps, 1), ("grid points", points, 2)):
        if value < least:
            raise InvalidArgument(f"{name} must be at least {least}, got {value}")
    if width is not None and not 0 < width < math.inf:
        raise InvalidArgument(f"width must be positive and finite, got {width}")
    goal = None if rtol is None else Goal(rtol)
    checks.whole("max_probes", max_probes)
    size, begun = operator.shape[0], operator.products
    draw = generator(seed)
    runs: list[Tridiagonal] = []
    known = Known.among(pairs, operator)

    def advance(count: int) -> Summary:
        for _ in range(count):
            runs.append(probe(operator, steps, draw, known, reorthogonalize))
        return 1.0, float("inf") if goal is None else found().relative_error

    def found(converged: bool = False) -> SpectralDensity:
        return _density(runs, known, width, grid, size, steps, operator.products - begun, converged)

    if goal is None:
        advance(probes)
        return found(True)
    _, met = until(goal, advance, probes, lambda: max_probes - len(runs))
    return found(met)


def _density(
    runs: list[Tridiagonal],
    known: Known,
    width: float | None,
    grid: Tensor | int,
    size: int,
    steps: int,
    products: int,
    converged: bool,
) -> SpectralDensity:
    complete = [exhausted(run, steps, size) for run in runs]
    whole = [known.joined(ritz(run, True)) for run in runs]
    nodes, weights = tuple(one.values for one in whole), tuple(one.weights for one in whole)
    low, high = _range(nodes)
    spread = (high - low) or abs(high) or 1.0
    width = width or spread / 100
    if isinstance(grid, int):
        grid = torch.linspace(low - 5 * width, high + 5 * width, grid, dtype=torch.float64)
    curves = _curves(grid, whole, width)
    density = curves.mean(0)
    sampling = standard_error((curves - density).square().sum(0), len(runs))
    # What the last quarter of the steps changed bounds what more steps would, as the quadrature converges.
    fewer = [
        run if done else leading(run, max(3 * run.diagonal.numel() // 4, 1))
        for run, done in zip(runs, complete, strict=True)
    ]
    quadrature = _curves(grid, [known.joined(ritz(run, True)) for run in fewer], width).mean(0) - density
    shown = [
        known.joined(ritz(run, done))
        for run, done in zip(runs, complete, strict=True)
        if done or run.off_diagonal.numel()
    ]
    return SpectralDensity(
        grid,
        density,
        torch.hypot(sampling, quadrature),
        width,
        nodes,
        weights,
        size,
        products,
        negative_share(shown or whole, size),
        outliers(shown, size, width),
        converged,
    )


def _range(nodes: tuple[Tensor, ...]) -> tuple[float, float]:
    return min(float(n.min()) for n in nodes), max(float(n.max()) for n in nodes)


def _curves(grid: Tensor, found: list[Ritz], width: float) -> Tensor:
    return torch.stack([_broadened(grid, one.values, one.weights, width) for one in found])


def _broadened(grid: Tensor, nodes: Tensor, weights: Tensor, width: float) -> Tensor:
    distance = (grid[:, None] - nodes[None]) / width
    return (weights * torch.exp(-0.5 * distance.square())).sum(1) / (width * math.sqrt(2 * math.pi))


def _over_probes(values: list[float]) -> Statistic:
    sample = torch.tensor(values, dtype=torch.float64)
    mean = sample.mean()
    return Statistic(float(mean), float(standard_error((sample - mean).square().sum(), len(values))))
