"""Steps within a trust radius, in the basis in which a problem is diagonal, and the next radius; for many at once."""

from __future__ import annotations

import torch
from torch import Tensor

_ITERATIONS = 30


def within(stiffness: Tensor, pull: Tensor, radius: Tensor) -> Tensor:
    """p = pull / (stiffness + μ) with the least μ ≥ 0 that makes ‖p‖ ≤ radius, to within a tenth.

    `stiffness` (b, n) is not negative, `pull` (b, n), `radius` (b,). μ is found by Newton's method on 1/‖p‖, which
    converges from below (Moré & Sorensen 1983).
    """
    limit = radius[:, None]
    # No entry alone may be longer than the radius: a lower bound of μ, and nothing overflows from there on.
    shift = (pull.abs() / limit - stiffness).amax(1, keepdim=True).clamp_min(0)
    damped = (stiffness + shift).clamp_min(torch.finfo(pull.dtype).tiny)
    step = pull / damped
    for _ in range(_ITERATIONS):
        length = step.norm(dim=1, keepdim=True)
        long = length > 1.1 * limit
        if not bool(long.any()):
            break
        slope = (step.square() / damped).sum(1, keepdim=True)
        shift = torch.where(long, shift + length.square() / slope * (length - limit) / limit, shift)
        damped = stiffness + shift
        step = pull / damped.clamp_min(torch.finfo(pull.dtype).tiny)
    return step


def least_squares_step(values: Tensor, slope: Tensor, radius: Tensor) -> Tensor:
    """The p that minimizes ‖slope + values · p‖ within the radius: a Gauss-Newton step on ½‖g‖².

    `values` (b, n) are eigenvalues and `slope` (b, n) the gradient in their basis; along eigenvectors whose
    eigenvalue is round-off p is zero.
    """
    zero = values.abs() <= roundoff(values) * values.abs().amax(1, keepdim=True)
    pull = torch.where(zero, 0.0, -values * slope)
    return within(torch.where(zero, 1.0, values.square()), pull, radius)


def index_step(values: Tensor, slope: Tensor, radius: Tensor, index: Tensor) -> Tensor:
    """The step uphill along the `index` (b,) lowest eigenvectors and downhill along the others, of length
    slope / abs(eigenvalue), shortened to the radius.

    `values` (b, n) are ascending eigenvalues and `slope` (b, n) the gradient in their basis. At a critical point of
    that index it is Newton's step.
    """
    uphill = torch.arange(values.shape[1], device=values.device) < index[:, None]
    sizes = values.abs()
    stiffness = torch.maximum(sizes, roundoff(values) * sizes.amax(1, keepdim=True))
    return within(stiffness, torch.where(uphill, slope, -slope), radius)


def newton_step(values: Tensor, slope: Tensor, zero: float) -> Tensor:
    """−slope / values (b, n), zero where an eigenvalue is at most `zero` times the largest."""
    small = values.abs() <= zero * values.abs().amax(1, keepdim=True)
    return torch.where(small, 0.0, -slope / torch.where(small, 1.0, values))


def remaining_step(values: Tensor, slope: Tensor, points: Tensor, zero: float) -> Tensor:
    """`newton_step` at `points` (b, n) for those components of the gradient that are more than rounding."""
    scale = values.abs().amax(1, keepdim=True) * points.norm(dim=1, keepdim=True).clamp_min(1)
    return newton_step(values, torch.where(slope.abs() <= roundoff(values) * scale, 0.0, slope), zero)


def roundoff(values: Tensor) -> float:
    """The share of the largest eigenvalue up to which the others of `values` (b, n) are round-off."""
    return 10 * values.shape[1] * torch.finfo(values.dtype).eps


def judged_by_agreement(
    miss: Tensor, length: Tensor, radius: Tensor, widest: Tensor
) -> tuple[Tensor, Tensor]:
    """Which steps (b,) are good, and the next radii (b,), at most `widest` (b,), when steps may go uphill.

    `miss` is ‖g − what the Hessian said‖ / ‖g before‖. Good steps miss by less than 2: with stricter limits fewer
    starts on small networks converge within a hundred steps, and with much looser ones hardly any.
    """
    good = miss < 2
    next_one = torch.where((miss < 0.5) & (length > 0.8 * radius), 2 * radius, radius)
    next_one = torch.where(miss > 1.2, 0.7 * radius, next_one)
    # Farther away there are other critical points, for other starts to find.
    next_one = torch.minimum(next_one, widest)
    return good, torch.where(good, next_one, 0.3 * torch.minimum(length, radius))


def judged_by_decrease(
    before: Tensor, after: Tensor, expected: Tensor, length: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Which steps (b,) are good, and the next radii (b,), when ‖g‖ must fall from `before` to `after`.

    The fall of ‖g‖² is compared with that to `expected`, which the Hessian promised.
    """
    promised = (before.square() - expected.square()).clamp_min(torch.finfo(before.dtype).tiny)
    ratio = torch.nan_to_num((before.square() - after.square()) / promised, nan=-1.0)
    next_one = torch.where((ratio > 0.75) & (length > 0.8 * radius), 2.5 * radius, radius)
    return ratio > 1e-3, torch.where(ratio < 0.25, 0.25 * torch.minimum(length, radius), next_one)
