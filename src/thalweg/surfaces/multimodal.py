"""Surfaces of any dimension whose minima multiply with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thalweg.surfaces.arguments import whole
from thalweg.surfaces.critical_point import CriticalPoint
from thalweg.surfaces.surface import Surface


def styblinski_tang(dim: int = 2) -> Surface:
    """½ Σᵢ xᵢ⁴ − 16xᵢ² + 5xᵢ: a sum over coordinates, with 2ⁿ minima and 3ⁿ critical points.

    All are listed up to dim = 5, beyond it the global minimum alone.

    Raises InvalidArgument for dim < 1.
    Source: M. A. Styblinski, T.-S. Tang, Neural Networks 3, 1990.
    """
    whole("dim", dim)

    def formula(x: Tensor) -> Tensor:
        return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum(0)

    lowest, barrier, higher = sorted(np.roots([4.0, 0.0, -32.0, 5.0]).real.tolist())
    complete = dim <= 5
    critical = _minima_first([lowest, higher], [barrier], dim) if complete else [[lowest] * dim]
    return Surface(
        "styblinski_tang",
        formula,
        [0.0] * dim,
        critical=critical,
        complete=complete,
        global_minimum=dim * 0.5 * (lowest**4 - 16 * lowest**2 + 5 * lowest),
        parameters={"dim": dim},
        equation=r"\tfrac12 \sum_i x_i^4 - 16 x_i^2 + 5 x_i",
        description="Two wells in every coordinate, so that minima double with each dimension.",
        source="M. A. Styblinski, T.-S. Tang, Neural Networks 3, 1990, 467-483",
    )


def rastrigin(dim: int = 2) -> Surface:
    """10n + Σᵢ xᵢ² − 10 cos 2πxᵢ: a bowl with a regular lattice of minima, one near each integer point.

    In one and two dimensions the minima in the domain |xᵢ| ≤ 5.12 are listed, in more the global one, 0.

    Raises InvalidArgument for dim < 1.
    Source: H. Mühlenbein, M. Schomisch, J. Born, Parallel Computing 17, 1991.
    """
    whole("dim", dim)

    def formula(x: Tensor) -> Tensor:
        return (10 + x**2 - 10 * torch.cos(2 * math.pi * x)).sum(0)

    # Near the integer k, f′ ≈ 2k + (2 + 40π²)(x − k).
    wells = [k - k / (1 + 20 * math.pi**2) for k in sorted(range(-5, 6), key=abs)]
    return Surface(
        "rastrigin",
        formula,
        [3.3 if i % 2 == 0 else -2.4 for i in range(dim)],
        domain=(-5.12, 5.12),
        critical=_minima_first(wells, [], dim) if dim <= 2 else [[0.0] * dim],
        global_minimum=0.0,
        parameters={"dim": dim},
        equation=r"10n + \sum_i x_i^2 - 10\cos 2\pi x_i",
        description="A bowl covered with a lattice of minima: descent finds the nearest, seldom the best.",
        source="H. Mühlenbein, M. Schomisch, J. Born, Parallel Computing 17, 1991, 619-632",
    )


def ackley(dim: int = 2) -> Surface:
    """−20 exp(−0.2 √(Σxᵢ²/n)) − exp(Σ cos(2πxᵢ)/n) + 20 + e: a funnel with ripples.

    The global minimum 0 at the origin is the tip of a cone: 0 is a subgradient there, which is what
    `gradient` gives; there is no Hessian, and it comes out as nan.

    Raises InvalidArgument for dim < 1.
    Source: D. H. Ackley: A Connectionist Machine for Genetic Hillclimbing, 1987.
    """
    whole("dim", dim)

    def formula(x: Tensor) -> Tensor:
        # vector_norm has the subgradient 0 at 0, where the square root of a sum has nan.
        radius = torch.linalg.vector_norm(x, dim=0) / math.sqrt(dim)
        ripples = torch.cos(2 * math.pi * x).mean(0)
        return -20 * torch.exp(-0.2 * radius) - torch.exp(ripples) + 20 + math.e

    tip = CriticalPoint(torch.zeros(dim, dtype=torch.float64), 0.0, "minimum", 0, smooth=False)
    return Surface(
        "ackley",
        formula,
        [2.5 if i % 2 == 0 else -1.7 for i in range(dim)],
        critical=[tip],
        global_minimum=0.0,
        parameters={"dim": dim},
        equation=r"-20\,e^{-0.2\sqrt{\frac1n\sum_i x_i^2}} - e^{\frac1n\sum_i\cos 2\pi x_i} + 20 + e",
        description="A funnel with ripples all over its wall and a sharp tip.",
        source="D. H. Ackley: A Connectionist Machine for Genetic Hillclimbing, Kluwer, 1987",
    )


def _minima_first(minima: Sequence[float], others: Sequence[float], dim: int) -> list[list[float]]:
    """Every combination of one-dimensional critical points, those of minima alone first."""
    points = [list(p) for p in itertools.product(minima, repeat=dim)]
    mixed = itertools.product([*minima, *others], repeat=dim)
    return points + [list(p) for p in mixed if not set(p) <= set(minima)]
