"""The last steps at a critical point, and its kind with the error that its location leaves in the eigenvalues."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from thalweg.curvature.critical.classification import DENSE_UP_TO, Classification, by_eigenvalues, classify
from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.curvature.critical.trust_region import newton_step, remaining_step, roundoff
from thalweg.errors import NotSymmetric

_BLOCK = 2**24
_ROOM = 1e-2


def symmetric_ones(derivatives: Derivatives, points: Tensor, errors: Tensor, tol: float) -> list[int]:
    """Which of `points` (m, n) can be told apart: those whose Hessian is more than rounding, and so symmetric."""
    good: list[int] = []
    for i in range(len(points)):
        try:
            certified(derivatives, points[i : i + 1], errors[i : i + 1], tol)
        except NotSymmetric:
            continue
        good.append(i)
    return good


def certified(
    derivatives: Derivatives, points: Tensor, errors: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor, list[Classification]]:
    """`points` (m, n) after last Newton steps, the gradients there, location errors (m,), and kinds.

    Two steps are tried and made where they lower ‖g‖: one along eigenvectors whose eigenvalues are beyond the root of
    the rounding, and one along all. Twice the change of each eigenvalue over them is the error that the location leaves
    in it: at a degenerate point, which iterates approach but slowly, as much as the eigenvalue itself. The location
    error is twice the length of the next step, for where the loss grows like distanceᵏ⁺¹ the critical point is k − 1
    steps away; components of g that are rounding have no part in it. Above n = 512 points and `errors` (m,) stay, and
    eigenvalues have their residuals alone.
    """
    if points.shape[1] > DENSE_UP_TO:
        kinds = [classify(derivatives.objective, point, gradient_tol=tol) for point in points]
        derivatives.gradients += len(points)
        derivatives.products += sum(kind.products for kind in kinds)
        return points, derivatives.gradient(points) if len(points) else points, errors, kinds
    parts = [_dense(derivatives, some, tol) for some in points.split(max(1, _BLOCK // points.shape[1] ** 2))]
    moved, slopes, left, kinds = zip(*parts, strict=True)
    return torch.cat(moved), torch.cat(slopes), torch.cat(left), list(chain.from_iterable(kinds))


def _dense(
    derivatives: Derivatives, points: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor, list[Classification]]:
    if not len(points):
        return points, points, points.new_empty(0), []
    slopes = derivatives.gradient(points)
    values, vectors = torch.linalg.eigh(derivatives.hessian(points))
    change = torch.zeros_like(values)
    for zero in (torch.finfo(points.dtype).eps ** 0.5, roundoff(values)):
        step = newton_step(values, _into(vectors, slopes), zero)
        room = _ROOM * points.norm(dim=1, keepdim=True).clamp_min(1)
        length = step.norm(dim=1, keepdim=True).clamp_min(torch.finfo(step.dtype).tiny)
        ahead = points + (vectors @ (step * (room / length).clamp_max(1))[..., None])[..., 0]
        there = derivatives.gradient(ahead)
        then, turned = torch.linalg.eigh(derivatives.hessian(ahead))
        # Of a step that was cut short the change was cut short, too.
        change = torch.maximum(change, (then - values).abs() * (length / room).clamp_min(1))
        better = there.norm(dim=1) < slopes.norm(dim=1)
        points = torch.where(better[:, None], ahead, points)
        slopes = torch.where(better[:, None], there, slopes)
        values = torch.where(better[:, None], then, values)
        vectors = torch.where(better[:, None, None], turned, vectors)
    left = 2 * remaining_step(values, _into(vectors, slopes), points, roundoff(values)).norm(dim=1)
    kinds = [
        by_eigenvalues(v.flip(0), e.flip(0), g, x, tol)
        for v, e, g, x in zip(values.double().cpu(), 2 * change.double().cpu(), slopes, points, strict=True)
    ]
    return points, slopes, left, kinds


def _into(vectors: Tensor, rows: Tensor) -> Tensor:
    """The components (m, n) of `rows` (m, n) along the columns of `vectors` (m, n, n)."""
    return (vectors.mT @ rows[..., None])[..., 0]
