"""How sharp a minimum is, by measures that do not agree, each with its error and what leaves it unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from thalweg import checks
from thalweg.curvature.estimators.trace import trace
from thalweg.curvature.flatness.ball import largest_rise, starts
from thalweg.curvature.flatness.volume import flat_radius
from thalweg.curvature.matrices.fisher import fisher
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.eigenpairs import eigenpairs
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, require_objective

SharpnessKind: TypeAlias = Literal[
    "lambda_max", "trace", "sam", "max", "adaptive", "average", "fisher_rao", "volume", "adaptive_volume"
]

_ROTATIONS = "rotations of θ"
_RESCALING = "rescaling of each weight against its successor, as between a ReLU network's layers"


@dataclass(frozen=True)
class Sharpness:
    """A sharpness and its error; `meaning` says what it is, `invariant_to` what leaves it as it is.

    Every measure is also unchanged when hidden units are permuted. Those that are not unchanged by rescaling can be
    made any size without changing the function that a ReLU network computes (Dinh et al. 2017).
    """

    kind: SharpnessKind
    value: float
    error: float
    meaning: str
    invariant_to: str = ""

    def __str__(self) -> str:
        unchanged = f"; unchanged by {self.invariant_to}" if self.invariant_to else ""
        return f"{number(self.value, 4)} ± {number(self.error, 2)}: {self.meaning}{unchanged}"


@dataclass(frozen=True)
class _Place:
    """Where and how closely to look."""

    obj: AbstractObjective
    theta: Tensor
    rho: float
    probes: int
    rise: float
    seed: int

    @property
    def rounding(self) -> float:
        """What rounding does to a difference of two losses."""
        return 4 * torch.finfo(self.obj.dtype).eps * abs(float(self.obj.loss(self.theta)))

    def directions(self, count: int) -> list[Tensor]:
        """Random vectors of independent standard normal entries, (n,) each."""
        draw = generator(self.seed)
        made = [torch.randn(self.obj.size, generator=draw, dtype=self.obj.dtype) for _ in range(count)]
        return [v.to(self.obj.device) for v in made]


def sharpness(
    obj: AbstractObjective,
    kind: SharpnessKind = "lambda_max",
    theta: Tensor | None = None,
    *,
    rho: float | None = None,
    probes: int = 16,
    rise: float = 0.1,
    seed: int = 0,
) -> Sharpness:
    """Measure the sharpness of `obj` at θ (n,), the objective's own point when None.

    Parameters
    ----------
    kind: of the Hessian, "lambda_max" (its largest eigenvalue; error: the residual) and "trace" (error: one standard
        error). Of the loss within a radius, "sam" (the rise after one gradient step uphill, Foret et al. 2021; error:
        rounding), "max" (the largest rise within the ball, by projected ascent from the gradient's, the stiffest and
        random directions; error: what its last gains leave to come), "adaptive" (the same within the ellipsoid
        ‖ε/θ‖ ≤ ρ, Kwon et al. 2021 without their offset), "average" (mean rise over random directions of length
        rho; error: one standard error). "fisher_rao": √(θᵀFθ) with the empirical Fisher matrix (Liang et al. 2019).
        "volume": 1/σ² for the largest σ at which Gaussian noise of that size raises the loss by `rise` on average,
        the quantity of PAC-Bayes bounds; "adaptive_volume" with noise proportional to each weight (Jiang et al. 2020).
    rho: radius; 0.05 when None, and 0.5 for "adaptive", whose unit is that of the weights.
    probes: random directions of "average", "volume" and "adaptive_volume"; an eighth as many random starts of "max"
        and "adaptive". rise: mean rise of the loss that bounds a volume.

    Raises
    ------
    InvalidArgument: an unknown kind, a radius or rise that is not positive and finite, or fewer than two probes.
    NotDifferentiable: "fisher_rao" of an objective that is no model with data.
    """
    require_objective(obj)
    checks.one_of("kind", kind, get_args(SharpnessKind))
    rho = (0.5 if kind == "adaptive" else 0.05) if rho is None else rho
    checks.positive("rho", rho)
    checks.positive("rise", rise)
    checks.whole("probes", probes, 2)
    theta = obj.checked_point(theta)
    value, error, meaning, unchanged = _MEASURES[kind](_Place(obj, theta, rho, probes, rise, seed))
    return Sharpness(kind, value, error, meaning, unchanged)


_Measured: TypeAlias = tuple[float, float, str, str]


def _lambda_max(place: _Place) -> _Measured:
    with hessian(place.obj, place.theta) as operator:
        pairs = eigenpairs(operator, 1, seed=place.seed)
    return float(pairs.values[0]), float(pairs.residuals[0]), "largest Hessian eigenvalue", _ROTATIONS


def _trace(place: _Place) -> _Measured:
    with hessian(place.obj, place.theta) as operator:
        found = trace(operator, seed=place.seed)
    return found.value, found.stderr, "sum of the Hessian's eigenvalues", _ROTATIONS


def _sam(place: _Place) -> _Measured:
    obj, theta, rho = place.obj, place.theta, place.rho
    slope = obj.gradient(theta)
    norm = slope.norm()
    step = rho * slope / norm if float(norm) else slope
    rise = float(obj.loss(theta + step)) - float(obj.loss(theta))
    return (
        rise,
        place.rounding,
        f"rise of the loss after a gradient step of length {rho:g} uphill",
        _ROTATIONS,
    )


def _ball(place: _Place, scale: Tensor, region: str, unchanged: str) -> _Measured:
    begin = starts(place.obj, place.theta, scale, place.directions(max(1, place.probes // 8)), place.seed)
    found = largest_rise(place.obj, place.theta, place.rho, scale, begin)
    return found.value, found.gap + place.rounding, f"largest rise of the loss within {region}", unchanged


def _max(place: _Place) -> _Measured:
    return _ball(place, torch.ones_like(place.theta), f"radius {place.rho:g}", _ROTATIONS)


def _adaptive(place: _Place) -> _Measured:
    region = f"radius {place.rho:g} of steps measured in units of each weight"
    return _ball(place, place.theta.abs(), region, _RESCALING)


def _average(place: _Place) -> _Measured:
    obj, theta, rho = place.obj, place.theta, place.rho
    base = float(obj.loss(theta))
    rises = [float(obj.loss(theta + rho * u / u.norm())) - base for u in place.directions(place.probes)]
    mean = sum(rises) / place.probes
    spread = math.sqrt(sum((rise - mean) ** 2 for rise in rises) / (place.probes - 1) / place.probes)
    meaning = f"mean rise of the loss over random steps of length {rho:g}"
    return mean, spread + place.rounding, meaning, _ROTATIONS


def _fisher_rao(place: _Place) -> _Measured:
    with fisher(place.obj, place.theta, kind="empirical") as operator:
        square = max(float(place.theta @ (operator @ place.theta)), 0.0)
    rounding = 4 * torch.finfo(place.obj.dtype).eps * math.sqrt(square)
    return math.sqrt(square), rounding, "Fisher-Rao norm √(θᵀFθ), empirical Fisher matrix", _RESCALING


def _volume(place: _Place, scale: Tensor, noise: str, unchanged: str) -> _Measured:
    sigma, error = flat_radius(place.obj, place.theta, scale, place.directions(place.probes), place.rise)
    meaning = f"1/σ² of the {noise} that raises the loss by {place.rise:g} on average"
    return 1 / sigma**2, 2 * error / sigma**3, meaning, unchanged


def _plain_volume(place: _Place) -> _Measured:
    return _volume(place, torch.ones_like(place.theta), "Gaussian noise σ", f"{_ROTATIONS}, in expectation")


def _adaptive_volume(place: _Place) -> _Measured:
    return _volume(place, place.theta.abs(), "Gaussian noise σ, in units of each weight,", _RESCALING)


_MEASURES: dict[str, Callable[[_Place], _Measured]] = {
    "lambda_max": _lambda_max,
    "trace": _trace,
    "sam": _sam,
    "max": _max,
    "adaptive": _adaptive,
    "average": _average,
    "fisher_rao": _fisher_rao,
    "volume": _plain_volume,
    "adaptive_volume": _adaptive_volume,
}
