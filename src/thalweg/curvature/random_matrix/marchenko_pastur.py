"""The Marchenko-Pastur law: the spectrum of a large sample covariance matrix of noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.checks import positive


@dataclass(frozen=True)
class MarchenkoPastur:
    """Eigenvalues of XXᵀ/m, X of shape (n, m) with independent entries of variance `scale`, for n/m → ratio.

    Gauss-Newton and Fisher matrices are of this form, with n parameters and m terms. Above ratio 1 a share of
    1 − 1/ratio of the eigenvalues are zero, the matrix's rank being at most m.

    Raises InvalidArgument for a ratio or scale that is not positive and finite.
    Source: Marchenko & Pastur (1967), Distribution of eigenvalues for some sets of random matrices.
    """

    ratio: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive("ratio", self.ratio)
        positive("scale", self.scale)

    @property
    def name(self) -> str:
        """What the law is called."""
        return "Marchenko-Pastur"

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of the bulk, scale·(1 ∓ √ratio)²."""
        root = math.sqrt(self.ratio)
        return self.scale * (1 - root) ** 2, self.scale * (1 + root) ** 2

    @property
    def atom(self) -> float:
        """Share of the eigenvalues that are exactly zero."""
        return max(0.0, 1 - 1 / self.ratio)

    def density(self, x: ArrayLike) -> NDArray[np.float64]:
        """√((b − x)(x − a)) / (2π·scale·ratio·x) between the edges a and b, of x's shape; without the atom."""
        x = np.asarray(x, dtype=np.float64)
        low, high = self.edges
        inside = (x > low) & (x < high) & (x > 0)
        held = np.where(inside, x, 1.0)
        root = np.sqrt(np.where(inside, (high - x) * (x - low), 0.0))
        return root / (2 * math.pi * self.scale * self.ratio * held)

    def cumulative(self, x: ArrayLike) -> NDArray[np.float64]:
        """Share of the eigenvalues that are at most x, of x's shape, the atom at zero included."""
        x = np.asarray(x, dtype=np.float64)
        low, high = self.edges
        # With x = center − half·cos φ the density is smooth in φ, and the trapezoidal rule exact to rounding.
        center, half = (low + high) / 2, (high - low) / 2
        angle = np.linspace(0, math.pi, 4097)
        place = center - half * np.cos(angle)
        slope = (
            half**2 * np.sin(angle) ** 2 / (2 * math.pi * self.scale * self.ratio * np.maximum(place, 1e-300))
        )
        if low < 1e-12 * high:
            # At ratio 1 the density has a pole at 0 that the sine squared takes away: its limit there.
            slope[0] = half / (math.pi * self.scale * self.ratio)
        mass = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2) * (angle[1] - angle[0])])
        mass *= (1 - self.atom) / mass[-1]
        wanted = np.arccos(np.clip((center - x) / half, -1, 1))
        return np.where(x < 0, 0.0, self.atom + np.interp(wanted, angle, mass))

    def outlier(self, spike: float) -> float | None:
        """ℓ(1 + ratio·s/(ℓ − s)) for a population eigenvalue ℓ beyond s(1 ± √ratio), s the scale; None between.

        Source: Baik, Ben Arous & Péché (2005); Baik & Silverstein (2006).
        """
        excess = spike / self.scale - 1
        if abs(excess) <= math.sqrt(self.ratio) or (excess < 0 and self.ratio >= 1):
            return None
        return spike * (1 + self.ratio / excess)


def marchenko_pastur(x: ArrayLike, ratio: float, scale: float = 1.0) -> NDArray[np.float64]:
    """The Marchenko-Pastur density at x, of x's shape, without the atom at zero that it has above ratio 1.

    ratio: dimensions over samples. scale: variance of the entries.
    """
    return MarchenkoPastur(ratio, scale).density(x)
