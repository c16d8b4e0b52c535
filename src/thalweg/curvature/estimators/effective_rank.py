"""How many eigenvalues a matrix has in effect, by three definitions that do not agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.estimators.frobenius import frobenius_norm
from thalweg.curvature.estimators.probing import Probing
from thalweg.curvature.estimators.quadratic_forms import QuadraticForms
from thalweg.curvature.estimators.sketch import Sketch, room
from thalweg.curvature.estimators.stopping import Estimate, Goal, Summary, check_counts, standard_error, until
from thalweg.curvature.operator import SymmetricOperator, require_operator
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.curvature.spectrum.known import Known
from thalweg.curvature.spectrum.quadrature import leading, probe
from thalweg.curvature.spectrum.ritz import Ritz, exhausted, ritz
from thalweg.errors import InvalidArgument

RankKind: TypeAlias = Literal["participation", "entropy", "stable"]

_STEPS = 64
"""Lanczos steps for each probe of the entropy."""

_KNOWN = 10
"""Largest eigenvalues that are computed beforehand for the entropy, so that probes need not find them."""


@dataclass(frozen=True)
class EffectiveRank(Estimate):
    """An effective rank by the definition `kind`: value ± stderr, in eigenvalues; the error of other parts included."""

    kind: RankKind

    def __str__(self) -> str:
        return f"effective rank ({self.kind}) {super().__str__()}"


def effective_rank(
    operator: SymmetricOperator,
    kind: RankKind = "participation",
    rtol: float = 0.05,
    *,
    max_products: int = 1000,
    min_probes: int = 12,
    seed: int = 0,
) -> EffectiveRank:
    """Estimate the effective rank of A until the standard error is at most rtol·value or products run out.

    "participation": (tr A)²/‖A‖_F², the participation ratio of the eigenvalues; small where eigenvalues of both signs
    cancel. "entropy": exp(−Σ pᵢ ln pᵢ) with pᵢ = abs(λᵢ)/Σ abs(λ), by Lanczos quadrature
    with 64 steps for each probe after the ten largest eigenvalues, which are computed.
    "stable": ‖A‖_F²/λ² with λ the eigenvalue of largest absolute value. Each lies between 0 and n, and is k for a
    matrix with k equal eigenvalues and else zeros. Dense up to n = 2·min_probes.

    Held are the vectors of `frobenius_norm` with as many columns as fit into 1 GiB, or 67 Lanczos vectors.

    Parameters
    ----------
    max_products: products that may be spent, at least 64·min_probes + 20 for "entropy".
    min_probes: random vectors drawn before the spread is believed.

    Raises
    ------
    InvalidArgument: an unknown kind, a zero matrix, which has no rank in this sense, a negative tolerance, or a count
        that is too small.

    Sources: Roy & Vetterli (2007), The effective rank; Rudelson & Vershynin (2007) for the stable rank.
    """
    require_operator(operator)
    checks.one_of("kind", kind, get_args(RankKind))
    goal = Goal(rtol)
    apart = {"participation": 0, "entropy": 2 * _KNOWN, "stable": 20}[kind]
    fewest = (_STEPS if kind == "entropy" else 2) * min_probes + apart
    check_counts(max_products, min_probes, fewest, f"the {kind} rank")
    size = operator.shape[0]
    if size <= 2 * min_probes:
        return EffectiveRank(
            _exact(torch.linalg.eigvalsh(operator.dense().double()), kind), 0.0, size, True, kind
        )
    begun = operator.products
    estimate = {"participation": _participation, "entropy": _entropy, "stable": _stable}[kind]
    value, stderr, met = estimate(operator, goal, begun + max_products, min_probes, seed)
    return EffectiveRank(value, stderr, operator.products - begun, met, kind)


def _exact(eigenvalues: Tensor, kind: RankKind) -> float:
    size = eigenvalues.abs()
    _require_nonzero(float(size.max()))
    if kind == "participation":
        return float(eigenvalues.sum() ** 2 / size.square().sum())
    if kind == "stable":
        return float((size / size.max()).square().sum())
    share = size / size.sum()
    return float(torch.special.entr(share).sum().exp())


def _require_nonzero(size: float) -> None:
    if not size:
        raise InvalidArgument("the effective rank needs a matrix that is not zero")


def _participation(
    operator: SymmetricOperator, goal: Goal, limit: int, least: int, seed: int
) -> tuple[float, float, bool]:
    draw = generator(seed)
    basis = Sketch(operator, draw, images=True)
    forms = QuadraticForms(basis)

    def summary() -> Summary:
        trace, error = forms.mean(1, 0)
        square, _ = forms.mean(0, 1)
        _require_nonzero(square)
        value = trace**2 / square
        # To first order trace²/square moves as this combination of both; where the trace is near zero its own
        # square's error, of second order, is what is left.
        _, first = forms.mean(2 * trace / square, -value / square)
        return value, math.hypot(first, math.sqrt(2) * error**2 / square)

    probing = Probing(basis, forms.add, summary, draw, room(operator, images=True), limit)
    (value, stderr), met = probing.run(goal, least)
    return value, stderr, met


def _stable(
    operator: SymmetricOperator, goal: Goal, limit: int, least: int, seed: int
) -> tuple[float, float, bool]:
    begun = operator.products
    spare = max(limit - operator.products - 2 * least, 1)
    pair = eigenpairs(operator, 1, "magnitude", max(goal.rtol / 10, 1e-6), seed=seed, max_products=spare)
    top = abs(float(pair.values[0]))
    _require_nonzero(top)
    rest = max(limit - operator.products, 2 * least)
    norm = frobenius_norm(operator, goal.rtol / 2.5, max_products=rest, min_probes=least, seed=seed)
    value = (norm.value / top) ** 2
    relative = 2 * math.hypot(norm.stderr / norm.value, float(pair.errors[0]) / top)
    met = relative <= goal.rtol and operator.products - begun <= limit
    return value, value * relative, met


def _entropy(
    operator: SymmetricOperator, goal: Goal, limit: int, least: int, seed: int
) -> tuple[float, float, bool]:
    """ln of the rank is ln s + e/s with s = Σ abs(λ) and e = −Σ abs(λ) ln abs(λ)."""
    size = operator.shape[0]
    count = min(_KNOWN, size // 4)
    spare = max(limit - operator.products - least * _STEPS, 1)
    pairs = eigenpairs(operator, count, "magnitude", seed=seed, max_products=spare)
    known = Known.among(pairs, operator)
    draw = generator(seed)
    sums: list[tuple[float, float]] = []
    fewer: list[tuple[float, float]] = []

    def advance(count: int) -> Summary:
        for _ in range(count):
            run = probe(operator, _STEPS, draw, known)
            complete = exhausted(run, _STEPS, size)
            shorter = run if complete else leading(run, 3 * _STEPS // 4)
            for found, of in ((sums, run), (fewer, shorter)):
                found.append(_sums(known.joined(ritz(of, True)), size))
        return estimate()

    def estimate() -> Summary:
        value, influence = _entropy_rank(torch.tensor(sums, dtype=torch.float64))
        stderr = float(standard_error(influence.square().sum(), len(sums)))
        # What the last quarter of the steps changed bounds what more would, as the quadrature converges.
        quadrature = abs(value - _entropy_rank(torch.tensor(fewer, dtype=torch.float64))[0])
        return value, math.hypot(stderr, quadrature)

    (value, stderr), met = until(goal, advance, least, lambda: (limit - operator.products) // _STEPS)
    return value, stderr, met


def _sums(found: Ritz, size: int) -> tuple[float, float]:
    spread = found.values.abs()
    parts = (spread, torch.special.entr(spread))
    first, second = (size * float((found.weights * part).sum()) for part in parts)
    return first, second


def _entropy_rank(sums: Tensor) -> tuple[float, Tensor]:
    """The rank, and by how much each probe moves it to first order."""
    s, e = sums.mean(0)
    _require_nonzero(float(s))
    value = float((s.log() + e / s).exp())
    return value, value * ((sums[:, 0] - s) * (1 / s - e / s**2) + (sums[:, 1] - e) / s)
