"""The density of a matrix's eigenvalues by stochastic Lanczos quadrature, with a band over the probes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import generator, random_vectors
from thalweg.curvature.spectrum.krylov import lanczos
from thalweg.errors import InvalidArgument

REORTHOGONALIZE_WITHIN = 2**30
"""Bytes of Lanczos vectors up to which they are kept and re-orthogonalized."""


@dataclass(frozen=True)
class Statistic:
    """A mean over probes with its standard error."""

    value: float
    stderr: float


@dataclass(frozen=True)
class SpectralDensity:
    """The distribution of n eigenvalues, as estimated from random probes.

    grid: (g,) eigenvalues; density: (g,) mean over probes, integrates to 1; stderr: (g,) of that mean.
    width: standard deviation of the Gaussian that each node was broadened by.
    nodes, weights: for each probe the quadrature's nodes (Ritz values) and weights, which sum to 1.
    products: matrix-vector products spent.
    """

    grid: Tensor
    density: Tensor
    stderr: Tensor
    width: float
    nodes: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    size: int
    products: int

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
    def fraction_negative(self) -> Statistic:
        """Share of eigenvalues below minus a thousandth of the largest in magnitude.

        Nearer to zero the quadrature's nodes stand for clusters of eigenvalues of both signs.
        """
        cut = -1e-3 * max(float(nodes.abs().max()) for nodes in self.nodes)
        return _over_probes([float(w[n < cut].sum()) for n, w in zip(self.nodes, self.weights, strict=True)])


def spectral_density(
    operator: SymmetricOperator,
    probes: int = 8,
    steps: int = 64,
    *,
    width: float | None = None,
    grid: Tensor | int = 512,
    reorthogonalize: bool | None = None,
    seed: int = 0,
) -> SpectralDensity:
    """Estimate the eigenvalue density from `probes` random vectors with `steps` Lanczos steps each.

    Parameters
    ----------
    width: broadening of the nodes, in units of the eigenvalues; 1/100 of their range when None.
    grid: points at which the density is wanted, or how many of them to spread over the range.
    reorthogonalize: hold all Lanczos vectors (steps · n numbers) to keep them orthogonal, or no more than four
        vectors, start and product included; None keeps them while they fit into 1 GiB.

    Raises
    ------
    InvalidArgument: probes below 2 (there would be no band), steps below 1, a grid of fewer than 2 points, width
        not positive and finite.

    Sources: Golub & Meurant (2010); Ghorbani et al. (2019), algorithm 1.
    """
    points = grid if isinstance(grid, int) else grid.numel()
    for name, value, least in (("probes", probes, 2), ("steps", steps, 1), ("grid points", points, 2)):
        if value < least:
            raise InvalidArgument(f"{name} must be at least {least}, got {value}")
    if width is not None and not 0 < width < math.inf:
        raise InvalidArgument(f"width must be positive and finite, got {width}")
    size, begun = operator.shape[0], operator.products
    if reorthogonalize is None:
        reorthogonalize = steps * size * operator.dtype.itemsize <= REORTHOGONALIZE_WITHIN
    draw = generator(seed)
    nodes: list[Tensor] = []
    weights: list[Tensor] = []
    for _ in range(probes):
        start = random_vectors(operator, 1, draw, "rademacher")[:, 0]
        ritz, weight = lanczos(operator, start, steps, reorthogonalize=reorthogonalize).eigen()
        nodes.append(ritz)
        weights.append(weight / weight.sum())
    low, high = min(float(n[0]) for n in nodes), max(float(n[-1]) for n in nodes)
    spread = (high - low) or abs(high) or 1.0
    width = width or spread / 100
    if isinstance(grid, int):
        grid = torch.linspace(low - 5 * width, high + 5 * width, grid, dtype=torch.float64)
    curves = torch.stack([_broadened(grid, n, w, width) for n, w in zip(nodes, weights, strict=True)])
    return SpectralDensity(
        grid,
        curves.mean(0),
        curves.std(0) / math.sqrt(probes),
        width,
        tuple(nodes),
        tuple(weights),
        size,
        operator.products - begun,
    )


def _broadened(grid: Tensor, nodes: Tensor, weights: Tensor, width: float) -> Tensor:
    distance = (grid[:, None] - nodes[None]) / width
    return (weights * torch.exp(-0.5 * distance.square())).sum(1) / (width * math.sqrt(2 * math.pi))


def _over_probes(values: list[float]) -> Statistic:
    sample = torch.tensor(values, dtype=torch.float64)
    return Statistic(float(sample.mean()), float(sample.std() / math.sqrt(len(values))))
