"""Clipping by the global norm: the gradient shortened, its direction kept."""

from __future__ import annotations

import math

import torch

from thalweg.clipping.gradients import Gradients, NonFinite, Parameters, check
from thalweg.clipping.record import ClipRecord


def clip_by_norm(params: Parameters, c: float, *, nonfinite: NonFinite = "raise") -> ClipRecord:
    """Scale all gradients, in place, to norm `c` if their common norm is larger: g ← g·c/‖g‖.

    The norm is over all parameters together, summed in double precision whatever the gradients' types and
    devices; so the direction stays the same to rounding. A parameter given twice counts once, one without a
    gradient not at all. torch.nn.utils.clip_grad_norm_ divides by ‖g‖ + 1e-6, this by ‖g‖.

    Parameters
    ----------
    params: a module, its `parameters()` or its `named_parameters()`; names appear in errors and in the record.
    c: the largest norm to leave, above 0; infinity only measures.
    nonfinite: when the norm is NaN or infinite, "raise"; "skip" sets all gradients to None, so that the step of an
        optimizer changes nothing; "pass" leaves them as they are. The record names the parameters either way.

    Raises
    ------
    InvalidArgument: no parameters, `c` not above 0, complex gradients, or ones neither dense nor sparse COO.
    NonfiniteGradient: a norm that is not finite, under nonfinite="raise".

    Source: Pascanu, Mikolov, Bengio (2013), On the difficulty of training recurrent neural networks, algorithm 1.
    """
    return clip_gradients(Gradients(params), check(c, nonfinite), nonfinite)


def clip_gradients(gradients: Gradients, c: float, nonfinite: NonFinite) -> ClipRecord:
    """`clip_by_norm` of gradients already collected."""
    norm = gradients.norm
    if not math.isfinite(norm):
        return gradients.refuse(nonfinite)
    if norm <= c:
        return ClipRecord(norm, False, 0.0, 1.0)
    scale = c / norm
    for gradient in gradients:
        entries = gradient.entries
        # A factor below the smallest normal number would lose digits, or be 0 where the product is not.
        if scale < torch.finfo(torch.promote_types(entries.dtype, torch.float32)).tiny:
            entries.mul_(math.sqrt(scale)).mul_(math.sqrt(scale))
        else:
            entries.mul_(scale)
    return ClipRecord(norm, True, 0.0, scale)
