"""How sharp a minimum is, by several measures that do not agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg.curvature.estimators.trace import trace
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.random_vectors import generator, random_vectors
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective

SharpnessKind: TypeAlias = Literal["lambda_max", "trace", "sam", "average"]


@dataclass(frozen=True)
class Sharpness:
    """A sharpness and its error; `meaning` says what it is and what it is not invariant to."""

    kind: SharpnessKind
    value: float
    error: float
    meaning: str


def sharpness(
    obj: AbstractObjective,
    kind: SharpnessKind = "lambda_max",
    theta: Tensor | None = None,
    *,
    rho: float = 0.05,
    probes: int = 16,
    seed: int = 0,
) -> Sharpness:
    """Measure the sharpness of `obj` at θ (n,), the objective's own point when None.

    Parameters
    ----------
    kind: "lambda_max", the largest Hessian eigenvalue (error: its residual); "trace", of the Hessian (error: one
        standard error); "sam", L(θ + ρg/‖g‖) − L(θ), the one-step value of Foret et al. (2021) (error: rounding of
        the two losses); "average", the mean of L(θ + ρu) − L(θ) over random directions u on the unit sphere
        (error: one standard error, and rounding).
    rho: radius, in units of θ. probes: how many random directions "average" takes.

    Raises
    ------
    InvalidArgument: an unknown kind, a radius that is not positive and finite, or fewer than two probes.
    """
    if kind not in get_args(SharpnessKind):
        raise InvalidArgument(f"kind must be one of {', '.join(get_args(SharpnessKind))}, got {kind!r}")
    if not 0 < rho < math.inf:
        raise InvalidArgument(f"rho must be positive and finite, got {rho}")
    if probes < 2:
        raise InvalidArgument(f"probes must be at least 2, got {probes}")
    theta = obj.checked_point(theta)
    with hessian(obj, theta) as operator:
        if kind == "lambda_max":
            pairs = eigenpairs(operator, 1, seed=seed)
            return Sharpness(
                kind, float(pairs.values[0]), float(pairs.residuals[0]), "largest Hessian eigenvalue"
            )
        if kind == "trace":
            estimate = trace(operator, seed=seed)
            return Sharpness(kind, estimate.value, estimate.stderr, "sum of the Hessian's eigenvalues")
        base = float(obj.loss(theta))
        rounding = 4 * torch.finfo(obj.dtype).eps * abs(base)
        if kind == "sam":
            slope = obj.gradient(theta)
            norm = slope.norm()
            step = rho * slope / norm if float(norm) else slope
            rise = float(obj.loss(theta + step)) - base
            return Sharpness(
                kind, rise, rounding, f"rise of the loss after a gradient step of length {rho:g} uphill"
            )
        draws = random_vectors(operator, probes, generator(seed))
        rises = [float(obj.loss(theta + rho * u / u.norm())) - base for u in draws.unbind(1)]
        mean = sum(rises) / probes
        spread = math.sqrt(sum((rise - mean) ** 2 for rise in rises) / (probes - 1) / probes)
        return Sharpness(
            kind, mean, spread + rounding, f"mean rise of the loss over random steps of length {rho:g}"
        )
