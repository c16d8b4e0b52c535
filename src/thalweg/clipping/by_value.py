"""Clipping every entry: each coordinate bounded, the direction turned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.clipping.gradients import Gradients, NonFinite, Parameters, check, length, numbers, precise
from thalweg.clipping.record import ClipRecord
from thalweg.errors import InvalidArgument


def clip_by_value(params: Parameters, c: float, *, nonfinite: NonFinite = "raise") -> ClipRecord:
    """Clamp every entry of the gradients to [−c, c], in place, and say by which angle that turned them.

    The large entries lose most, so the step no longer goes down the gradient: prefer `clip_by_norm`.
    As torch.nn.utils.clip_grad_value_, but for what is not finite: that is never clamped silently.

    Parameters
    ----------
    params, nonfinite: as for `clip_by_norm`.
    c: the largest absolute value to leave, above 0; it is rounded to the type of each gradient.

    Raises
    ------
    InvalidArgument: no parameters, `c` not above 0 in a gradient's type, or a kind of gradient that
        `clip_by_norm` refuses too.
    NonfiniteGradient: a norm that is not finite, under nonfinite="raise".

    Source: the angle is that between g and clip(g) as vectors of all parameters.
    """
    limit = check(c, nonfinite)
    gradients = Gradients(params)
    limits = [_rounded(limit, g.entries.dtype, g.name) for g in gradients]
    if not math.isfinite(gradients.norm):
        return gradients.refuse(nonfinite)
    largest = numbers([_largest(g.entries) for g in gradients])
    over = [
        (g.entries, bound) for g, bound, top in zip(gradients, limits, largest, strict=True) if top > bound
    ]
    if not over:
        return ClipRecord(gradients.norm, False, 0.0, 1.0)
    # All lengths in units of the largest entry, so that none overflows.
    unit = max(largest)
    excesses = [_clamp(entries, bound).div_(unit) for entries, bound in over]
    sums = numbers([e.sum(dtype=precise(e)) for e in excesses])
    lengths = numbers([torch.linalg.vector_norm(e, dtype=precise(e)) for e in excesses])
    after = math.hypot(*numbers([length(g.entries) for g in gradients]))
    # g = ĝ + e, and where e is not 0, ĝ is ±c with its sign: ⟨e, ĝ⟩ = c·‖e‖₁. From the small e rather than from
    # ⟨g, ĝ⟩, whose arc cosine loses half of the digits of a small angle.
    along = sum(bound / unit * s for (_, bound), s in zip(over, sums, strict=True)) / (after / unit)
    cut = math.hypot(*lengths)
    across = math.sqrt(max(0.0, (cut - along) * (cut + along)))
    angle = math.atan2(across, after / unit + along)
    return ClipRecord(gradients.norm, True, angle, after / gradients.norm)


def _rounded(c: float, dtype: torch.dtype, name: str) -> float:
    rounded = float(torch.tensor(c, dtype=dtype))
    if rounded == 0:
        raise InvalidArgument(f"c must be above 0 in {dtype}, the type of the gradient of {name}, got {c}")
    return rounded


def _largest(entries: Tensor) -> Tensor:
    if entries.numel() == 0:
        return entries.new_zeros(())
    return torch.maximum(entries.max(), -entries.min())


def _clamp(entries: Tensor, bound: float) -> Tensor:
    """Clamp in place and return by how much each entry was shortened."""
    excess = entries.to(torch.promote_types(entries.dtype, torch.float32), copy=True)
    entries.clamp_(-bound, bound)
    return excess.sub_(entries).abs_()
