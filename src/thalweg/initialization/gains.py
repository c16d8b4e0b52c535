"""By how much a layer must be larger because of the activation that follows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import InvalidArgument

Family: TypeAlias = Literal["he", "xavier", "lecun"]

LINEAR = "linear"

_SMOOTH: dict[str, Callable[..., Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "elu": F.elu,
    "celu": F.celu,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}
_XAVIER = {LINEAR: 1.0, "sigmoid": 1.0, "tanh": 5 / 3}


def family(activation: str) -> Family:
    """The scheme that fits an activation: "he" for rectifiers, "lecun" for SELU, "xavier" for the rest."""
    if activation == "selu":
        return "lecun"
    return "he" if activation in {"relu", "relu6", "leaky_relu", *_SMOOTH} else "xavier"


def gain(activation: str, slope: float = 0.0) -> float:
    """The factor on 1/√fan that makes up for the activation that follows.

    Rectifiers: √(2/(1+slope²)), which keeps the mean square exactly. Smooth rectifiers (GELU, SiLU, Mish, ELU,
    Softplus): the g with E f(g·z)² = 1 for a standard normal z. tanh: 5/3, the field's habit; with 1 its signal
    decays. SELU: 1, its own fixed point. Everything else, sigmoid included: 1.

    Parameters
    ----------
    activation: a name such as "relu", "leaky_relu", "tanh", "gelu", "linear"; an unknown one counts as linear.
    slope: of a leaky rectifier below zero, or ELU's and CELU's alpha (0: the default of 1).

    Raises
    ------
    InvalidArgument: a slope that is not finite.

    Sources: Glorot & Bengio (2010); He et al. (2015), equation 15; Klambauer et al. (2017).
    """
    if not math.isfinite(slope):
        raise InvalidArgument(f"slope must be finite, got {slope}")
    if activation in ("relu", "relu6"):
        return math.sqrt(2)
    if activation == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    if activation in _SMOOTH:
        return _fixed_point(activation, slope if activation in ("elu", "celu") else 0.0)
    return _XAVIER.get(activation, 1.0)


@cache
def _fixed_point(activation: str, alpha: float) -> float:
    """The g in E f(g·z)² = 1 by Gauss–Hermite quadrature and bisection."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    z = torch.from_numpy(nodes)
    density = torch.from_numpy(weights / weights.sum())
    f = _SMOOTH[activation]

    def excess(g: float) -> float:
        # Only ELU and CELU have an alpha: F.elu(z, alpha), F.celu(z, alpha).
        image = f(g * z) if alpha == 0 else f(g * z, alpha)
        return float((density * image**2).sum()) - 1

    low, high = 0.5, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2
