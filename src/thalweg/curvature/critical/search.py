"""Critical points of any kind and height, searched from many starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from thalweg.checks import one_of, positive, whole
from thalweg.curvature.critical.certificate import certified, symmetric_ones
from thalweg.curvature.critical.dense_search import DenseSearch, Ends, Rule
from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.curvature.critical.krylov_search import krylov_search
from thalweg.curvature.critical.merging import distinct_ends, near
from thalweg.curvature.critical.result import CriticalPoints
from thalweg.curvature.critical.starts import at_many_heights, in_box
from thalweg.errors import InvalidArgument, NotSymmetric, ShapeMismatch
from thalweg.objective import AbstractObjective, require_objective
from thalweg.objective.linearization import require_full_precision
from thalweg.surfaces import CriticalPoint, Surface

DENSE_UP_TO = 256
"""Dimension up to which dense Hessians are used."""

_BLOCK = 2**24
_MODEL_REACH = 100.0
_BOX_REACH = 10.0


def critical_points(
    obj: AbstractObjective,
    starts: int | Tensor = 64,
    *,
    box: tuple[float, float] | Sequence[tuple[float, float]] | Tensor | None = None,
    method: Rule = "newton",
    tol: float | None = None,
    distinct: float | None = None,
    max_steps: int | None = None,
    seed: int = 0,
) -> CriticalPoints:
    """Search critical points of `obj` of any kind and height, and say of each start that led to none why.

    A point is critical when ‖g‖ ≤ tol · abs(λ)max · max(1, ‖θ‖) and Newton's method, going not far from there, leaves
    nothing of it but rounding.
    Ends closer together than distinct · max(1, ‖θ‖), or than the error with which they are known, are one point. Points
    of a connected family (a valley of minima, a dead unit's free weights) are no nearer to each other than chance
    puts them and stay apart, as do copies of a network with its units exchanged.

    "newton" follows eigenvectors: uphill along the lowest k, downhill along the others, with abs(H)⁻¹ and a trust
    radius, towards a critical point of index k: saddle-free Newton where k = 0. k is the number of negative eigenvalues
    at the start (of a model, of clearly negative ones), counted again every 25 Hessians. "gradient-norm" minimizes
    ½‖g‖² by Gauss-Newton steps. It gets caught more often in minima of ‖g‖ that are no critical points, where Hg ≈ 0
    with g ≠ 0: these impostors are rejected and counted (Doye & Wales 2002; Frye et al. 2021). Both use dense Hessians
    up to n = 256, and above it Krylov spaces of at most 60 products a step, where k is the number of negative Ritz
    values.

    Parameters
    ----------
    starts: how many, or the points themselves (b, n). In a box they cover it evenly. Without one they begin at
        noise of many scales around 0 and around the objective's own point and go down by up to 200 gradient steps.
    box: (lower, upper) for every coordinate, or n such pairs: points outside of it are not returned. Without it the
        starts of a surface cover its domain, and every point found is returned.
    tol: 1e-10 in float64 and 1e-5 in float32 when None. distinct: √tol when None.
    max_steps: most Hessians, or Krylov spaces, for a start: 100, and 60 without a box or a domain, when None.

    Memory: up to 0.5 GB for dense Hessians, besides what one of the model holds; with Krylov spaces 66 vectors for the
    space and 3 for each start.

    Raises
    ------
    InvalidArgument: an argument out of range, or a box that is none.
    ShapeMismatch: starts of another shape than (b, n).
    NotDifferentiable: half precision, or Hessian products that overflow.

    Sources: Cerjan & Miller (1981), On finding transition states; Dauphin et al. (2014), Identifying and attacking the
    saddle point problem; Doye & Wales (2002), Saddle points and dynamics of Lennard-Jones clusters.
    """
    require_objective(obj)
    tol = (1e-10 if obj.dtype == torch.float64 else 1e-5) if tol is None else tol
    apart = tol**0.5 if distinct is None else distinct
    _check(obj, method, tol, apart, max_steps)
    derivatives = Derivatives(obj)
    limits = _limits(box, obj)
    room = obj.domain if limits is None and isinstance(obj, Surface) else limits
    begin = _starts(derivatives, starts, room, seed)
    max_steps = max_steps or (60 if room is None else 100)
    ends = _ends(derivatives, begin, method, tol, room, max_steps)
    failures = Counter(outcome for outcome in ends.outcomes if outcome != "converged")
    good = [i for i, outcome in enumerate(ends.outcomes) if outcome == "converged"]
    inside = [i for i in good if _within(ends.points[i], limits)]
    found, hits = distinct_ends(ends, inside, apart)
    points, errors = ends.points[found], ends.location_errors[found]
    try:
        points, slopes, errors, kinds = certified(derivatives, points, errors, tol)
    except NotSymmetric:
        told = symmetric_ones(derivatives, points, errors, tol)
        failures["not symmetric"] = sum(hits) - sum(hits[i] for i in told)
        hits = [hits[i] for i in told]
        points, slopes, errors, kinds = certified(derivatives, points[told], errors[told], tol)
    losses = obj.losses(points).double() if hits else points.new_empty(0).double()
    order = losses.argsort(stable=True)
    points, errors, losses = points[order], errors[order], losses[order].cpu()
    known = _known(obj, limits)
    missing = tuple(p for p in known if not bool(near(p.location, points, errors, apart).any()))
    return CriticalPoints(
        points,
        losses,
        tuple(kinds[i] for i in order.tolist()),
        slopes[order].norm(dim=1),
        errors,
        torch.tensor(hits, dtype=torch.long)[order.cpu()],
        dict(failures) | ({"outside": len(good) - len(inside)} if len(good) > len(inside) else {}),
        len(begin),
        derivatives.gradients,
        derivatives.hessians,
        derivatives.products,
        missing,
        len(known) or None,
        isinstance(obj, Surface) and obj.complete,
    )


def _ends(
    derivatives: Derivatives,
    begin: Tensor,
    rule: Rule,
    tol: float,
    room: Tensor | None,
    max_steps: int,
) -> Ends:
    """Where the search ends that begins at each row of `begin` (b, n)."""
    size = begin.shape[1]
    # Of a model's many small eigenvalues those that are negative at a start seldom are where it ends.
    clear = 1e-2 if room is None else 1e-8
    if room is None:
        reach = _MODEL_REACH * max(1.0, float(begin.norm(dim=1).max()))
    else:
        reach = _BOX_REACH * float((room[:, 1] - room[:, 0]).norm())
    if size > DENSE_UP_TO:
        return krylov_search(derivatives, begin, rule, tol=tol, reach=reach, max_steps=max_steps)
    parts = [
        DenseSearch(derivatives, some, rule, tol=tol, reach=reach, clear=clear).run(max_steps)
        for some in begin.split(max(1, _BLOCK // size**2))
    ]
    return Ends(
        torch.cat([part.points for part in parts]),
        torch.cat([part.gradient_norms for part in parts]),
        torch.cat([part.location_errors for part in parts]),
        tuple(outcome for part in parts for outcome in part.outcomes),
    )


def _starts(derivatives: Derivatives, starts: int | Tensor, room: Tensor | None, seed: int) -> Tensor:
    objective = derivatives.objective
    if isinstance(starts, Tensor):
        if starts.dim() != 2 or starts.shape[1] != objective.size or not len(starts):
            raise ShapeMismatch(
                f"starts must be a number or have shape (b, {objective.size}), got {tuple(starts.shape)}"
            )
        if not bool(starts.isfinite().all()):
            raise InvalidArgument("starts must be finite, got a NaN or an infinity")
        return starts.detach().to(objective.device, objective.dtype)
    whole("starts", starts)
    if room is not None:
        return in_box(room, starts, seed)
    return at_many_heights(derivatives, starts, seed)


def _limits(
    box: tuple[float, float] | Sequence[tuple[float, float]] | Tensor | None, obj: AbstractObjective
) -> Tensor | None:
    """The box as a tensor (n, 2)."""
    if box is None:
        return None
    limits = torch.as_tensor(box, dtype=torch.float64)
    if limits.shape == (2,):
        limits = limits.expand(obj.size, 2)
    if (
        limits.shape != (obj.size, 2)
        or not bool(limits.isfinite().all())
        or not bool((limits[:, 0] < limits[:, 1]).all())
    ):
        raise InvalidArgument(
            f"box must be (lower, upper) or {obj.size} such pairs, lower < upper, got {box}"
        )
    return limits.to(obj.device, obj.dtype)


def _within(point: Tensor, limits: Tensor | None) -> bool:
    return limits is None or bool(((point >= limits[:, 0]) & (point <= limits[:, 1])).all())


def _known(obj: AbstractObjective, limits: Tensor | None) -> list[CriticalPoint]:
    """The surface's known critical points (in the box): without kinks, and of incomplete lists the isolated ones."""
    if not isinstance(obj, Surface):
        return []
    return [
        point
        for point in obj.critical_points
        if point.smooth and (obj.complete or not point.nullity) and _within(point.location, limits)
    ]


def _check(obj: AbstractObjective, method: str, tol: float, distinct: float, max_steps: int | None) -> None:
    one_of("method", method, get_args(Rule))
    positive("tol", tol)
    positive("distinct", distinct)
    if max_steps is not None:
        whole("max_steps", max_steps)
    require_full_precision(obj.dtype, "a search for critical points")
