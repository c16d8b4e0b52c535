"""The lecture's double well: one parameter, a good minimum, a worse one and a barrier between."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from thalweg.surfaces.surface import Surface


def quartic() -> Surface:
    """x⁴ − 2x² + x/2, in one dimension: the global minimum, near −1.06, is sharper than the one near 0.93.

    Source: the lecture's interactive example of step sizes.
    """

    def formula(p: Tensor) -> Tensor:
        x = p[0]
        return x**4 - 2 * x**2 + x / 2

    lowest, barrier, higher = sorted(np.roots([4.0, 0.0, -4.0, 0.5]).real.tolist())
    return Surface(
        "quartic",
        formula,
        [1.5],
        domain=(-2.0, 2.0),
        critical=[[lowest], [higher], [barrier]],
        complete=True,
        global_minimum=lowest**4 - 2 * lowest**2 + lowest / 2,
        equation=r"x^4 - 2x^2 + \tfrac12 x",
        description="A double well in one dimension whose deeper minimum is the sharper one.",
        source="the lecture's interactive example of step sizes",
    )
