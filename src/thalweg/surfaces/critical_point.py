"""Points where a surface's gradient vanishes: refined to round-off, and told apart by their Hessian."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.surfaces.derivatives import Formula, gradient, hessian

Kind: TypeAlias = Literal["minimum", "saddle", "maximum", "degenerate"]


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A known critical point of a surface.

    location: shape (n,).
    value: the loss there.
    kind: "minimum", "saddle" or "maximum"; "degenerate" where the Hessian has a zero eigenvalue and leaves it
        open. A point that attains the known lowest value is a minimum whatever its Hessian is.
    index: number of negative eigenvalues of the Hessian.
    nullity: number of zero eigenvalues; a minimum with nullity > 0 is flat, or part of a valley of minima.
    smooth: False for a kink, where 0 is only a subgradient and there is no Hessian.
    """

    location: Tensor
    value: float
    kind: Kind
    index: int
    nullity: int = 0
    smooth: bool = True

    def to(self, dtype: torch.dtype, device: torch.device) -> CriticalPoint:
        """The same point with its location in another type."""
        return replace(self, location=self.location.to(device, dtype))


def refined(formula: Formula, near: Tensor) -> Tensor:
    """The critical points (m, n) next to approximations `near` (m, n), by Newton's method.

    Where the Hessian is singular the step is the shortest one, so that a point on a valley of minima stays
    where it is. Raises InvalidArgument if the method leaves the neighbourhood.
    """
    x = near.T.clone()
    for _ in range(20):
        slope = gradient(formula, x)
        if not slope.any():
            break
        curvature = hessian(formula, x).permute(2, 0, 1)
        inverse = torch.linalg.pinv(curvature, rtol=_relative_zero(x), hermitian=True)
        step = (inverse @ slope.T[..., None])[..., 0].T
        x = x - step
        if bool((step.abs() <= 4 * torch.finfo(x.dtype).eps * (1 + x.abs())).all()):
            break
    for start, found in zip(near, x.T, strict=True):
        # Not `>`: a step to NaN has left the neighbourhood too.
        if not bool((found - start).norm() <= 0.05 * (1 + start.norm())):
            raise InvalidArgument(
                f"critical: {start.tolist()} is not near a critical point: "
                f"Newton's method moved it to {found.tolist()}"
            )
    return x.T.contiguous()


def classified(formula: Formula, points: Tensor, global_minimum: float | None) -> list[CriticalPoint]:
    """The critical points at `points` (m, n), each with its value, kind and index."""
    if not len(points):
        return []
    x = points.T
    values = formula(x)
    eigenvalues = torch.linalg.eigvalsh(hessian(formula, x).permute(2, 0, 1))
    zero = _relative_zero(x) * eigenvalues.abs().amax(1, keepdim=True)
    negative = (eigenvalues < -zero).sum(1).tolist()
    positive = (eigenvalues > zero).sum(1).tolist()
    found: list[CriticalPoint] = []
    for location, value, down, up in zip(points, values.tolist(), negative, positive, strict=True):
        lowest = global_minimum is not None and value <= global_minimum + 1e-10 * (1 + abs(global_minimum))
        kind = _kind(down, up, len(location), lowest=lowest)
        found.append(CriticalPoint(location, value, kind, down, len(location) - down - up))
    return found


def _relative_zero(x: Tensor) -> float:
    """Size, relative to the largest one, up to which an eigenvalue of an n × n Hessian is round-off."""
    return 100 * len(x) * torch.finfo(x.dtype).eps


def _kind(negative: int, positive: int, size: int, *, lowest: bool) -> Kind:
    if negative and positive:
        return "saddle"
    if lowest or positive == size:
        return "minimum"
    return "maximum" if negative == size else "degenerate"
