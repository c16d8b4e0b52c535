"""Curvature of an objective at a point, measure by measure: numbers with their errors, and lines a person reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
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
    random_matrix,
    sharpness,
    spectral_density,
    trace,
)
from thalweg.errors import InvalidArgument, ThalwegError
from thalweg.numbers import number, with_error
from thalweg.objective import AbstractObjective, Objective
from thalweg.problems import Training
from thalweg.surveys import as_json
from thalweg.surveys.stability import stability_of


@dataclass
class Looking:
    """Where is measured and how closely; the Hessian's linearization is shared by all measures.

    training: how the model is trained, for what concerns its optimizer. start: eigenvectors (n, j) of a nearby point.
    pairs: the eigenpairs, once they are measured.
    """

    objective: AbstractObjective
    theta: Tensor
    operator: SymmetricOperator
    k: int
    probes: int
    seed: int
    training: Training | None = None
    start: Tensor | None = None
    pairs: Eigenpairs | None = None

    def measure(self, name: str) -> Measured:
        """The measure called `name`, one of `MEASURES`.

        Raises NotDifferentiable where derivatives overflow, InvalidArgument for one that the objective does not have.
        Of several sharpnesses those that cannot be measured are told by name, unless none can.
        """
        return MEASURES[name](self)


@dataclass(frozen=True)
class Measured:
    """A measure's numbers, as JSON can hold them, what a person is told, and what is followed along a run.

    followed: name to (value, error); the error is NaN where none is known.
    """

    numbers: dict[str, Any]
    lines: list[str]
    followed: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


@contextmanager
def looking(
    objective: AbstractObjective,
    theta: Tensor | None = None,
    *,
    k: int = 10,
    probes: int = 8,
    seed: int = 0,
    training: Training | None = None,
    start: Tensor | None = None,
) -> Generator[Looking]:
    """Ready to measure at θ (n,), the objective's own point when None.

    Raises InvalidArgument for k or probes below 1.
    """
    checks.whole("k", k)
    checks.whole("probes", probes)
    if k > MOST_PAIRS:
        raise InvalidArgument(
            f"k must be at most {MOST_PAIRS}, got {k}: more single eigenpairs take long and 2k + 20 vectors of "
            f"{objective.size:,} numbers; the density shows them together"
        )
    theta = objective.checked_point(theta)
    with hessian(objective, theta) as operator:
        yield Looking(objective, theta, operator, min(k, objective.size), probes, seed, training, start)


def chosen(
    objective: AbstractObjective, names: Sequence[str] | None, training: Training | None = None
) -> tuple[str, ...]:
    """The measures to be made, in the order that lets one use another's: those named, or all by default.

    Raises InvalidArgument for no measure, an unknown one, or one that the objective, or its training, does not have.
    """
    if names is not None and not names:
        raise InvalidArgument(f"measure must name one or more of {', '.join(MEASURES)}, got none")
    for name in names or ():
        checks.one_of("measure", name, tuple(MEASURES))
    if training is None and "stability" in (names or ()):
        raise InvalidArgument(
            "measure 'stability' is of an optimizer: give a folder that a model was trained into, or use "
            "`thalweg stability`"
        )
    model = isinstance(objective, Objective)
    if names is None:
        return tuple(name for name in BY_DEFAULT if model or name not in OF_MODELS)
    if not model and (foreign := [name for name in names if name in OF_MODELS]):
        raise InvalidArgument(f"measure {foreign[0]!r} is of models, and {objective.name} has none")
    return tuple(name for name in MEASURES if name in names)


def _searched(look: Looking) -> Eigenpairs:
    """Eigenpairs from both ends, from those of a point before where a search without them finds no other extremes.

    Directions that have become flat satisfy any bound on residuals, and hide an eigenvalue that has come elsewhere.
    """
    if look.start is None or look.k <= 2:
        return eigenpairs(look.operator, look.k, "both", seed=look.seed)
    found = eigenpairs(look.operator, look.k, "both", seed=look.seed, start=look.start)
    ends = eigenpairs(look.operator, 2, "both", seed=look.seed)
    spent = found.products + ends.products
    margin = float(ends.residuals.max() + found.residuals.max())
    hidden = max(float(ends.values[0] - found.values[0]), float(found.values[-1] - ends.values[-1]))
    if hidden > margin:
        found = eigenpairs(look.operator, look.k, "both", seed=look.seed)
        spent += found.products
    return replace(found, products=spent)


def _eigenpairs(look: Looking) -> Measured:
    look.pairs = found = _searched(look)
    lines = [
        f"λ = {number(float(value), 4)} ± {number(float(residual), 2)}{'' if done else ' (not converged)'}"
        for value, residual, done in zip(found.values, found.residuals, found.converged, strict=True)
    ]
    lines.append(f"{found.products} products")
    ends = {"largest eigenvalue": 0} | ({"smallest eigenvalue": -1} if look.k > 1 else {})
    followed = {name: (float(found.values[i]), float(found.errors[i])) for name, i in ends.items()}
    return Measured(as_json.of_eigenpairs(found), lines, followed)


def _kind(look: Looking) -> Measured:
    # One pair is from one end of the spectrum, and says nothing of the other.
    pairs = look.pairs if look.k > 1 else None
    found = classify(look.objective, look.theta, pairs=pairs, seed=look.seed)
    followed = {
        "gradient norm": (found.gradient_norm, 0.0),
        "negative eigenvalues": (float(found.index), math.inf if found.index_at_least else found.near_zero),
    }
    return Measured(as_json.of_classification(found), [str(found)], followed)


def _trace(look: Looking) -> Measured:
    edge = 0.0 if look.pairs is None else 0.02 * float(look.pairs.values.abs().max())
    found = trace(look.operator, atol=edge, seed=look.seed)
    line = f"{number(found.value, 4)} ± {number(found.stderr, 2)} from {found.products} products"
    line += "" if found.converged else " (not converged)"
    return Measured(asdict(found), [line], {"trace": (found.value, found.stderr)})


def _density(look: Looking) -> Measured:
    found = spectral_density(look.operator, max(2, look.probes), seed=look.seed)
    negative = found.fraction_negative
    mean, second = found.moments[:2]
    lines = [
        f"mean {number(mean.value, 3)} ± {number(mean.stderr, 2)}, mean square {number(second.value, 3)} ± "
        f"{number(second.stderr, 2)}",
        f"{negative}: nearer to zero their signs are open",
    ]
    references: list[dict[str, Any]] = []
    for law, apart in random_matrix.references(found):
        heights = law.density(found.grid.cpu().numpy()).tolist()
        atom = f", {100 * law.atom:.3g} % at 0" if law.atom else ""
        told = f"{law.name}{atom}, distance {apart:.2f}"
        references.append({"law": law.name, "distance": apart, "told": told, "density": heights})
        lines.append(f"random matrix of the bulk's mean and variance: {told} (0 is the same, 1 the most)")
    lines.append(f"{found.products} products")
    followed = {"share of negative eigenvalues": (negative.value, negative.stderr)}
    return Measured(as_json.of_density(found) | {"references": references}, lines, followed)


def _sharpness(look: Looking) -> Measured:
    kinds = ("sam", "max", "average") + (
        ("adaptive", "fisher_rao") if isinstance(look.objective, Objective) else ()
    )
    numbers: dict[str, Any] = {}
    lines: list[str] = []
    followed: dict[str, tuple[float, float]] = {}
    failed: list[ThalwegError] = []
    for kind in kinds:
        try:
            found = sharpness(look.objective, kind, look.theta, seed=look.seed)
        except ThalwegError as error:
            failed.append(error)
            numbers[kind] = {"kind": kind, "failure": str(error)}
            lines.append(f"{kind} cannot be measured: {error}")
            continue
        numbers[kind] = asdict(found)
        lines.append(f"{kind}: {found}")
        followed[f"{kind} sharpness"] = (found.value, found.error)
    if not followed:
        raise failed[0]
    return Measured(numbers, lines, followed)


def _noise(look: Looking) -> Measured:
    assert isinstance(look.objective, Objective)
    found = gradient_noise_scale(look.objective, look.theta, seed=look.seed)
    numbers = {"value": found.value, "stderr": found.stderr}
    return Measured(numbers, [str(found)], {"noise scale": (found.value, found.stderr)})


def _blocks(look: Looking) -> Measured:
    rows: dict[str, Any] = {}
    lines: list[str] = []
    followed: dict[str, tuple[float, float]] = {}
    for name, block in blocks(look.operator).items():
        found = eigenpairs(block, 1, tol=1e-2, seed=look.seed)
        value, residual = float(found.values[0]), float(found.residuals[0])
        rows[name] = {"size": block.shape[0], "lambda_max": value, "residual": residual}
        lines.append(f"{name} ({block.shape[0]:,}): λmax = {with_error(value, residual)}")
        followed[f"largest eigenvalue of {name}"] = (value, residual)
    return Measured(rows, lines, followed)


def _stability(look: Looking) -> Measured:
    assert look.training is not None, "see `chosen`"
    found = stability_of(look.objective, look.training, look.theta, look.pairs, seed=look.seed)
    numbers = asdict(found) | {"ratio": found.ratio}
    return Measured(numbers, [str(found)], {"largest stable rate": (found.rate, found.error)})


MEASURES: dict[str, Callable[[Looking], Measured]] = {
    "eigenpairs": _eigenpairs,
    "kind": _kind,
    "trace": _trace,
    "density": _density,
    "sharpness": _sharpness,
    "noise": _noise,
    "blocks": _blocks,
    "stability": _stability,
}
MOST_PAIRS = 500
"""Eigenpairs that are searched one by one."""
BY_DEFAULT = tuple(name for name in MEASURES if name != "stability")
OF_MODELS = ("noise", "blocks")
"""Measures that a surface does not have."""
