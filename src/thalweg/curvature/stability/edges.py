"""The edge of stability of each update rule for a known largest eigenvalue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from thalweg.checks import below_one, not_negative, one_of
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error

RULES = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "gradient_descent")
"""The rules whose edge is known, by the names of thalweg.optim."""
ADAPTIVE = ("adam", "adamw", "rmsprop", "adagrad")
"""Those that divide by √v̂ + ε."""


@dataclass(frozen=True)
class StableRate:
    """The learning rate above which steps diverge along the stiffest direction.

    rate, error: the edge, and its error to first order in the eigenvalue's residual; infinite without curvature.
    lambda_max: the largest eigenvalue, of the preconditioned Hessian P⁻¹H for adaptive optimizers.
    formula: how the rate follows from it. optimizer: the rule.
    preconditioner: where P = √v̂ + ε came from, empty for a rule without one; note: what else there is to know.
    used: the rate in use, None where only a rule was named.
    products: Hessian products spent; converged: whether the eigenvalue met its tolerance.
    """

    rate: float
    error: float
    lambda_max: float
    formula: str
    optimizer: str = ""
    preconditioner: str = ""
    note: str = ""
    used: float | None = None
    products: int = 0
    converged: bool = True

    @property
    def ratio(self) -> float | None:
        """The rate in use over the edge, above 1 where it is unstable; None where only a rule was named."""
        return None if self.used is None else self.used / self.rate

    def __str__(self) -> str:
        known = "; ".join(filter(None, (self.formula, self.preconditioner, self.note)))
        text = f"largest stable rate {with_error(self.rate, self.error)} ({known})"
        if self.used is None or self.ratio is None:
            return text
        return f"{text}; {number(self.used)} in use is {number(self.ratio, 3)} of it"


@dataclass(frozen=True)
class Edge:
    """A rule is stable where η(c·λ + d) < 2, with λ the curvature and d the weight decay of θ itself.

    curvature: c. text: the edge as a formula, from how λ and d are written; d may be empty.
    """

    curvature: float
    text: Callable[[str, str], str]


def edge_of(rule: str, momentum: float, dampening: float = 0.0) -> Edge:
    """The edge of a rule, at which the mode of curvature λ turns over with every step: θ' = −θ.

    `momentum` is α, Adam's β₁; `dampening` that of torch's SGD. Raises InvalidArgument for an unknown rule or a
    momentum outside [0, 1).
    """
    below_one("momentum", momentum)
    one_of("optimizer", rule, RULES)
    match rule:
        case "momentum" | "rmsprop" if momentum:
            c, told = (1 - dampening) / (1 + momentum), f" with α = {momentum:g}"
            if dampening:
                return Edge(c, lambda h, _: f"2(1+α)/((1−τ){h}){told}, τ = {dampening:g}")
            return Edge(c, lambda h, _: f"2(1+α)/{h}{told}")
        case "nesterov":
            c, told = (1 + 2 * momentum) / (1 + momentum), f" with α = {momentum:g}"
            return Edge(c, lambda h, d: f"(2+2α)/((1+2α){h}{_added('', d)}){told}")
        case "adam" | "adamw":
            c, told = (1 - momentum) / (1 + momentum), f" with β₁ = {momentum:g}"
            return Edge(c, lambda h, d: f"(2+2β₁)/((1−β₁){h}{_added('(1+β₁)·', d)}){told}")
        case _:
            return Edge(1.0, lambda h, _: f"2/{h}")


def decays(rule: str, weight_decay: float, momentum: float) -> tuple[float, float]:
    """The weight decay of a rule as what is coupled into the gradient and what shrinks θ itself."""
    if rule == "adamw":
        return 0.0, weight_decay
    if rule == "nesterov":
        # Of θ, while the gradient is taken at θ + αv: at the edge as strong as this decay of θ itself.
        return 0.0, weight_decay / (1 + momentum)
    return weight_decay, 0.0


def stable_rate(
    lambda_max: float, residual: float, optimizer: str, momentum: float, weight_decay: float = 0.0
) -> StableRate:
    """The stability edge for a known largest eigenvalue; infinite where the curvature is not positive beyond its error.

    Parameters
    ----------
    lambda_max, residual: of the Hessian; of P⁻¹H with P = √v̂ + ε for "adam", "adamw", "rmsprop" and "adagrad".
    optimizer: as in `largest_stable_rate`. momentum: α, for Adam β₁, for RMSProp μ.
    weight_decay: adds to the curvature in every direction; decoupled for "adamw".

    Raises
    ------
    InvalidArgument: an unknown optimizer, a momentum outside [0, 1), a negative decay, or one that is divided by P: it
        belongs into the Hessian before its eigenvalue is taken.
    """
    edge = edge_of(optimizer, momentum)
    not_negative("weight_decay", weight_decay)
    coupled, direct = decays(optimizer, weight_decay, momentum)
    if coupled and optimizer in ADAPTIVE:
        raise InvalidArgument(
            f"weight_decay of {optimizer} is divided by √v̂ + ε: add it to the Hessian before its eigenvalue is taken, "
            f"got {weight_decay}"
        )
    hessian = "λmax(P⁻¹H)" if optimizer in ADAPTIVE else "λmax"
    return from_curvature(optimizer, edge, lambda_max, residual, hessian, coupled, direct, weight_decay)


def from_curvature(
    rule: str,
    edge: Edge,
    lambda_max: float,
    residual: float,
    hessian: str,
    coupled: float = 0.0,
    direct: float = 0.0,
    weight_decay: float = 0.0,
) -> StableRate:
    """2/(c(λ + coupled) + direct) with its error; infinite where the sum is not positive beyond its error."""
    written = f"{weight_decay:g}" if weight_decay else ""
    formula = edge.text(f"({hessian} + {written})" if coupled else hessian, written if direct else "")
    if weight_decay:
        formula += ", weight decay included"
    total, error = edge.curvature * (lambda_max + coupled) + direct, edge.curvature * residual
    if total <= error:
        return StableRate(math.inf, 0.0, lambda_max, formula, rule)
    return StableRate(2 / total, 2 * error / total**2, lambda_max, formula, rule)


def _added(factor: str, decay: str) -> str:
    return f" + {factor}{decay}" if decay else ""
