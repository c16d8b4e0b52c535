"""What the limiting laws of random spectra have in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Law(Protocol):
    """A limiting distribution of eigenvalues, with a bulk between two edges."""

    @property
    def name(self) -> str:
        """What the law is called."""
        ...

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of the bulk."""
        ...

    @property
    def atom(self) -> float:
        """Share of the eigenvalues that are exactly zero."""
        ...

    def density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Density of the bulk at x, of x's shape; integrates to 1 − atom."""
        ...

    def cumulative(self, x: ArrayLike) -> NDArray[np.float64]:
        """Share of the eigenvalues that are at most x, of x's shape."""
        ...

    def outlier(self, spike: float) -> float | None:
        """Where an eigenvalue planted at `spike` shows beyond the bulk; None below the threshold, where it drowns."""
        ...
