"""The Frobenius norm of a matrix that is known by its products alone, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thalweg import checks
from thalweg.curvature.estimators.probing import Probing
from thalweg.curvature.estimators.quadratic_forms import QuadraticForms
from thalweg.curvature.estimators.sketch import Sketch, room
from thalweg.curvature.estimators.stopping import Estimate, Goal, check_counts
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator


@dataclass(frozen=True)
class FrobeniusNorm(Estimate):
    """An estimated norm ‖A‖_F, the root of the sum of the squared eigenvalues: value ± stderr."""

    def __str__(self) -> str:
        return f"Frobenius norm {super().__str__()}"


def frobenius_norm(
    operator: SymmetricOperator,
    rtol: float = 0.05,
    atol: float = 0.0,
    *,
    max_products: int = 400,
    min_probes: int = 12,
    sketch: int | None = None,
    seed: int = 0,
) -> FrobeniusNorm:
    """Estimate ‖A‖_F until the standard error is at most max(rtol·value, atol) or products run out.

    ‖A‖_F² = tr A² is estimated as `trace` does it by "xtrace": exact on the range of a sketch, ‖Av‖² on the rest with
    each probe v measured off the range of the others. A few large eigenvalues, which make ‖Av‖² alone vary by its own
    size, then do no harm. value ± 2·stderr covers the norm in about 95 % of cases.

    At most 9/4 · `sketch` + 32 vectors of length n are held.

    Parameters
    ----------
    max_products: products that may be spent, at least those of min_probes.
    min_probes: random vectors drawn before the spread is believed.
    sketch: most columns of the sketch, as many as fit into 1 GiB when None; 0 for ‖Av‖² alone, whose error bar is
        too short, by skew, where one eigenvalue is most of the norm.

    Raises
    ------
    InvalidArgument: a negative tolerance, a count that is too small, or a sketch that shows A to be not symmetric.

    Source: Epperly, Tropp & Webber (2024), XTrace, section 2.
    """
    require_operator(operator)
    goal = Goal(rtol, atol)
    capacity = room(operator, images=True) if sketch is None else checks.whole("sketch", sketch, 0)
    fewest = min_probes + min(min_probes, capacity)
    check_counts(max_products, min_probes, fewest, "the Frobenius norm")
    size, begun = operator.shape[0], operator.products
    if size <= fewest:
        return FrobeniusNorm(float(operator.dense().double().norm()), 0.0, size, True)
    draw = generator(seed)
    basis = Sketch(operator, draw, images=True)
    forms = QuadraticForms(basis)

    def summary() -> tuple[float, float]:
        square, error = forms.mean(0, 1)
        norm = math.sqrt(square)
        return norm, error / (2 * norm) if norm else 0.0

    probing = Probing(basis, forms.add, summary, draw, capacity, begun + max_products)
    (value, stderr), met = probing.run(goal, min_probes)
    return FrobeniusNorm(value, stderr, operator.products - begun, met)
