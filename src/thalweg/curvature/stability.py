"""The largest learning rate at which an optimizer is stable on the local quadratic."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective


@dataclass(frozen=True)
class StableRate:
    """The stability edge `rate`, its `error` from the eigenvalue's residual, and the `formula` it came from."""

    rate: float
    error: float
    lambda_max: float
    formula: str


def largest_stable_rate(
    obj: AbstractObjective,
    optimizer: str = "sgd",
    *,
    momentum: float = 0.9,
    theta: Tensor | None = None,
    tol: float = 1e-3,
    seed: int = 0,
) -> StableRate:
    """The rate above which full-batch steps diverge along the stiffest direction of the Hessian at θ.

    Parameters
    ----------
    optimizer: "sgd" (2/λ), "momentum" (2(1+α)/λ) or "nesterov" ((2+2α)/((1+2α)λ)), with α = `momentum`.

    Raises
    ------
    InvalidArgument: another optimizer, or a momentum outside [0, 1).
    """
    # Before the eigenvalue, which may take long, is computed in vain.
    stable_rate(1.0, 0.0, optimizer, momentum)
    with hessian(obj, theta) as operator:
        pairs = eigenpairs(operator, 1, "largest", tol, seed=seed)
    return stable_rate(float(pairs.values[0]), float(pairs.residuals[0]), optimizer, momentum)


def stable_rate(
    lambda_max: float, residual: float, optimizer: str, momentum: float, weight_decay: float = 0.0
) -> StableRate:
    """The stability edge for a known largest eigenvalue; infinite where the curvature is not positive beyond its error.

    A weight decay coupled into the gradient adds to the curvature in every direction.
    """
    if not 0 <= momentum < 1:
        raise InvalidArgument(f"momentum must be in [0, 1), got {momentum}")
    edges = {
        "sgd": (2.0, "2/λmax"),
        "momentum": (2 * (1 + momentum), f"2(1+α)/λmax with α = {momentum:g}"),
        "nesterov": ((2 + 2 * momentum) / (1 + 2 * momentum), f"(2+2α)/((1+2α)λmax) with α = {momentum:g}"),
    }
    if optimizer not in edges:
        raise InvalidArgument(
            f"optimizer must be one of {', '.join(edges)}, got {optimizer!r}: the edge of adaptive optimizers "
            "depends on their state"
        )
    edge, formula = edges[optimizer]
    curvature = lambda_max + weight_decay
    if weight_decay:
        formula = formula.replace("λmax", f"(λmax + {weight_decay:g})") + ", weight decay included"
    if curvature <= residual:
        return StableRate(float("inf"), 0.0, lambda_max, formula)
    return StableRate(edge / curvature, edge * residual / curvature**2, lambda_max, formula)
