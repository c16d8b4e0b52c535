"""Values of a trace with each probe in turn measured off the range of the others, and what those values share.

Epperly, Tropp & Webber (2024) take the spread of the m values tᵢ for the error of their mean. That is too small, by
1.6 times where eigenvalues decay slowly: the values are correlated, for each probe shapes the range that the others
are measured off. With tᵢ₍ⱼ₎ the value of probe i off the range of all but i and j, and δᵢⱼ = tᵢ − tᵢ₍ⱼ₎, the covariance
of tᵢ and tⱼ is E δᵢⱼδⱼᵢ exactly: given the other probes tᵢ₍ⱼ₎ and tⱼ₍ᵢ₎ are independent; given all but i, δᵢⱼ has mean
zero, while tⱼ₍ᵢ₎ is known. So spread and δ together estimate the variance of the mean without bias, and all δ follow
from m × m matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.estimators.sketch import Sketch

PAIRED = 32
"""Probes whose pairs with all others are looked at: a mean over these pairs is one over all, as probes are alike."""


@dataclass(frozen=True)
class Form:
    """A symmetric matrix B in the coordinates of a sketch: QᵀBQ (m, m), QᵀBΩ (m, m) and each ωᵢᵀBωᵢ (m,)."""

    within: Tensor
    across: Tensor
    own: Tensor


def lost_directions(sketch: Sketch) -> Tensor:
    """Unit vectors sᵢ (m, m), as columns: without probe i the range's projector is QQᵀ − Qsᵢ(Qsᵢ)ᵀ.

    Column i of R⁻ᵀ is orthogonal to all columns of R but the i-th.
    """
    identity = torch.eye(sketch.columns, dtype=torch.float64)
    directions = torch.linalg.solve_triangular(sketch.coefficients.T, identity, upper=False)
    return directions / directions.norm(dim=0)


def second_directions(lost: Tensor) -> Tensor:
    """[i, :, j]: the unit vector that with sᵢ spans what leaving out both i and j loses, zero for j = i; (p, m, m).

    Of the first p = min(m, PAIRED) probes i. Where probes see little but one weak direction all sᵢ are nearly alike:
    the difference is taken twice.
    """
    pairs = min(lost.shape[1], PAIRED)
    first = lost.T[:pairs, :, None]
    rest = lost.expand(pairs, -1, -1).clone()
    for _ in range(2):
        rest -= first * (first * rest).sum(-2, keepdim=True)
        rest /= rest.norm(dim=-2, keepdim=True).clamp(min=torch.finfo(rest.dtype).tiny)
    probes = torch.arange(pairs)
    rest[probes, :, probes] = 0
    return rest


def without(vectors: Tensor, directions: Tensor) -> Tensor:
    """The columns of `vectors` without their part along the unit vectors `directions`: one each, or one for all."""
    return vectors - directions * (directions * vectors).sum(-2, keepdim=True)


def values(sketch: Sketch, form: Form) -> Tensor:
    """One unbiased value of tr B for each probe, tᵢ = tr(PᵢBPᵢ) + ωᵢᵀ(I − Pᵢ)B(I − Pᵢ)ωᵢ, shape (m,)."""
    lost = lost_directions(sketch)
    return _measured(form, without(sketch.inside, lost), form.across, form.own) - _forms(form, lost)


def shared(sketch: Sketch, form: Form, found: Tensor) -> Tensor:
    """The sum over all pairs i ≠ j of δᵢⱼδⱼᵢ, which estimates that of the covariances of the values `found`."""
    lost, m = lost_directions(sketch), sketch.columns
    second = second_directions(lost)
    pairs = len(second)
    first = lost.T[:pairs, :, None]
    gone = _forms(form, first) + _forms(form, second)
    inside, across, own = sketch.inside, form.across, form.own
    theirs = _measured(form, without(without(inside, first), second), across, own) - gone
    # The same for probe i itself, off the range of all but i and j.
    inside, across, own = inside.T[:pairs, :, None], across.T[:pairs, :, None], own[:pairs, None]
    mine = _measured(form, without(without(inside, first), second), across, own) - gone
    products = (found - theirs) * (found[:pairs, None] - mine)
    return (products.sum() - products.diagonal().sum()) * m / pairs


def _measured(form: Form, x: Tensor, across: Tensor, own: Tensor) -> Tensor:
    """tr(QᵀBQ) + (ω − Qx)ᵀB(ω − Qx) for each column x."""
    return form.within.trace() + own - 2 * (x * across).sum(-2) + _forms(form, x)


def _forms(form: Form, x: Tensor) -> Tensor:
    return (x * (form.within @ x)).sum(-2)
