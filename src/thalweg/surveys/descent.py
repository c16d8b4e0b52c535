"""Going down an analytic surface to a critical point, for a survey to measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.surfaces import Surface


def descend_to_minimum(surface: Surface) -> tuple[Tensor, dict[str, Any]]:
    """The path (T, n) of SciPy's BFGS from the surface's start, and how it went.

    A path that leaves the finite numbers (a surface without a minimum) ends at its last finite point.
    """
    from scipy.optimize import minimize  # takes a third of a second to import

    path = [surface.point]

    def value(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = torch.from_numpy(x.copy())
        return float(surface.loss(theta)), surface.gradient(theta).numpy()

    def keep(x: NDArray[np.float64]) -> None:
        if np.isfinite(x).all() and np.isfinite(value(x)[0]):
            path.append(torch.from_numpy(x.copy()))

    with np.errstate(all="ignore"):
        result = minimize(
            value,
            surface.point.numpy(),
            jac=True,
            method="BFGS",
            callback=keep,
            options={"gtol": 1e-10, "maxiter": 500},
        )
    settled = float(surface.gradient(path[-1]).norm()) < 1e-6
    return torch.stack(path), {
        "source": "descended by BFGS from the surface's start",
        "optimizer": "bfgs",
        "steps": int(result.nit),
        "diverged": not settled,
    }
