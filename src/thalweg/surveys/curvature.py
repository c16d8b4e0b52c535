"""Curvature of an objective at a point, measure by measure: numbers with their errors, and lines a person reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from thalweg import checks
from thalweg.curvature import (
    Eigenpairs,
    SymmetricOperator,
    blocks,
    classify,
    eigenpairs,
    gradient_noise_scale,
    hessian,
    sharpness,
    spectral_density,
    trace,
)
from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, Objective


@dataclass
class Looking:
    """Where is measured and how closely; the Hessian's linearization is shared by all measures."""

    objective: AbstractObjective
    theta: Tensor
    operator: SymmetricOperator
    k: int
    probes: int
    seed: int
    pairs: Eigenpairs | None = None


@dataclass(frozen=True)
class Measured:
    """A measure's numbers, as JSON can hold them, and what a person is told."""

    numbers: dict[str, Any]
    lines: list[str]


def measure(
    objective: AbstractObjective,
    theta: Tensor | None = None,
    measures: tuple[str, ...] | None = None,
    *,
    k: int = 10,
    probes: int = 8,
    seed: int = 0,
) -> dict[str, Measured]:
    """Each named measure at θ (n,), the objective's own point when None; all that the objective has by default.

    Raises
    ------
    InvalidArgument: an unknown measure, or one that the objective does not have.
    """
    for name in measures or ():
        checks.one_of("measure", name, tuple(MEASURES))
    if measures is None:
        model = isinstance(objective, Objective)
        measures = tuple(name for name in MEASURES if model or name not in OF_MODELS)
    theta = objective.checked_point(theta)
    with hessian(objective, theta) as operator:
        look = Looking(objective, theta, operator, min(k, objective.size), probes, seed)
        return {name: MEASURES[name](look) for name in measures}


def _eigenpairs(look: Looking) -> Measured:
    look.pairs = found = eigenpairs(look.operator, look.k, "both", seed=look.seed)
    lines = [
        f"λ = {number(float(value), 4)} ± {number(float(residual), 2)}{'' if done else ' (not converged)'}"
        for value, residual, done in zip(found.values, found.residuals, found.converged, strict=True)
    ]
    lines.append(f"{found.products} products")
    numbers = {
        "values": found.values.tolist(),
        "residuals": found.residuals.tolist(),
        "converged": found.converged.tolist(),
        "products": found.products,
    }
    return Measured(numbers, lines)


def _kind(look: Looking) -> Measured:
    found = classify(look.objective, look.theta, pairs=look.pairs)
    return Measured(asdict(found) | {"text": str(found)}, [str(found)])


def _trace(look: Looking) -> Measured:
    edge = 0.0 if look.pairs is None else 0.02 * float(look.pairs.values.abs().max())
    found = trace(look.operator, atol=edge, seed=look.seed)
    line = f"{number(found.value, 4)} ± {number(found.stderr, 2)} from {found.products} products"
    return Measured(asdict(found), [line + ("" if found.converged else " (not converged)")])


def _density(look: Looking) -> Measured:
    found = spectral_density(look.operator, max(2, look.probes), seed=look.seed)
    negative = found.fraction_negative
    mean, second = found.moments[:2]
    lines = [
        f"mean {number(mean.value, 3)} ± {number(mean.stderr, 2)}, mean square {number(second.value, 3)} ± "
        f"{number(second.stderr, 2)}",
        f"{100 * negative.value:.1f} ± {100 * negative.stderr:.1f} % of the eigenvalues are negative",
        f"{found.products} products",
    ]
    numbers = {
        "grid": found.grid.tolist(),
        "density": found.density.tolist(),
        "stderr": found.stderr.tolist(),
        "width": found.width,
        "moments": [asdict(moment) for moment in found.moments],
        "fraction_negative": asdict(negative),
        "products": found.products,
    }
    return Measured(numbers, lines)


def _sharpness(look: Looking) -> Measured:
    kinds = ("sam", "max", "average") + (
        ("adaptive", "fisher_rao") if isinstance(look.objective, Objective) else ()
    )
    found = [sharpness(look.objective, kind, look.theta, seed=look.seed) for kind in kinds]
    return Measured({one.kind: asdict(one) for one in found}, [f"{one.kind}: {one}" for one in found])


def _noise(look: Looking) -> Measured:
    if not isinstance(look.objective, Objective):
        raise InvalidArgument(f"noise is of gradients of samples, and {look.objective.name} has none")
    found = gradient_noise_scale(look.objective, look.theta, seed=look.seed)
    return Measured({"value": found.value, "stderr": found.stderr}, [str(found)])


def _blocks(look: Looking) -> Measured:
    rows: dict[str, Any] = {}
    lines: list[str] = []
    for name, block in blocks(look.operator).items():
        found = eigenpairs(block, 1, tol=1e-2, seed=look.seed)
        rows[name] = {
            "size": block.shape[0],
            "lambda_max": float(found.values[0]),
            "residual": float(found.residuals[0]),
        }
        lines.append(
            f"{name} ({block.shape[0]:,}): λmax = {number(float(found.values[0]), 3)} ± "
            f"{number(float(found.residuals[0]), 2)}"
        )
    return Measured(rows, lines)


MEASURES: dict[str, Callable[[Looking], Measured]] = {
    "eigenpairs": _eigenpairs,
    "kind": _kind,
    "trace": _trace,
    "density": _density,
    "sharpness": _sharpness,
    "noise": _noise,
    "blocks": _blocks,
}
OF_MODELS = ("noise", "blocks")
"""Measures that a surface does not have."""
