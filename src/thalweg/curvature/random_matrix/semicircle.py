"""Wigner's semicircle: the spectrum of a large symmetric matrix of independent entries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.checks import positive


@dataclass(frozen=True)
class Semicircle:
    """Eigenvalues of a symmetric n × n matrix whose entries have variance radius²/(4n), as n grows.

    Raises InvalidArgument for a radius that is not positive and finite.
    Source: Wigner (1958), On the distribution of the roots of certain symmetric matrices.
    """

    radius: float = 2.0
    center: float = 0.0

    def __post_init__(self) -> None:
        positive("radius", self.radius)

    @property
    def name(self) -> str:
        """What the law is called."""
        return "semicircle"

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of the bulk."""
        return self.center - self.radius, self.center + self.radius

    @property
    def atom(self) -> float:
        """No eigenvalue is exactly zero."""
        return 0.0

    def density(self, x: ArrayLike) -> NDArray[np.float64]:
        """2/(πR²) √(R² − (x − c)²), of x's shape."""
        scaled = (np.asarray(x, dtype=np.float64) - self.center) / self.radius
        return 2 / (math.pi * self.radius) * np.sqrt(np.clip(1 - scaled**2, 0, None))

    def cumulative(self, x: ArrayLike) -> NDArray[np.float64]:
        """Share of the eigenvalues that are at most x, of x's shape."""
        scaled = np.clip((np.asarray(x, dtype=np.float64) - self.center) / self.radius, -1, 1)
        return 0.5 + (scaled * np.sqrt(1 - scaled**2) + np.arcsin(scaled)) / math.pi

    def outlier(self, spike: float) -> float | None:
        """θ + R²/(4θ) for a planted rank-one matrix of eigenvalue θ (from the center) beyond R/2, None below.

        Source: Baik, Ben Arous & Péché (2005); Benaych-Georges & Nadakuditi (2011) for the symmetric case.
        """
        shift = spike - self.center
        if abs(shift) <= self.radius / 2:
            return None
        return self.center + shift + self.radius**2 / (4 * shift)


def semicircle(x: ArrayLike, radius: float = 2.0) -> NDArray[np.float64]:
    """Wigner's semicircle density of the given radius at x, of x's shape: 2/(πR²) √(R² − x²), 0 beyond."""
    return Semicircle(radius).density(x)
