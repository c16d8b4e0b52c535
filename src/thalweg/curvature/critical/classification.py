"""What kind of critical point a point is, if it is one, with the evidence and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs, eigenpairs
from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.objective import AbstractObjective

Kind: TypeAlias = Literal["minimum", "maximum", "saddle", "undetermined", "not critical"]

DENSE_UP_TO = 512
"""Dimension up to which the whole spectrum is computed."""


@dataclass(frozen=True)
class Classification:
    """The kind of a point and why.

    kind: "minimum", "maximum" or "saddle"; "undetermined" when eigenvalues within error of zero leave it open;
        "not critical" when the gradient is not zero.
    index: eigenvalues that are negative beyond their error; `index_at_least` when there may be more that were
        not looked at.
    near_zero: eigenvalues (of those computed) within error of zero: the index may be larger by up to as many.
    gradient_norm, gradient_tolerance: ‖g‖ and the size up to which it counts as zero.
    smallest, largest: the extreme eigenvalues; error: what an eigenvalue must exceed to count as non-zero.
    """

    kind: Kind
    index: int
    index_at_least: bool
    near_zero: int
    gradient_norm: float
    gradient_tolerance: float
    smallest: float
    largest: float
    error: float

    def __str__(self) -> str:
        bound = "at least " if self.index_at_least else ""
        spread = f"+ 0 to {self.near_zero}" if self.near_zero else "± 0"
        index = f"index {bound}{self.index} ({spread})"
        if self.kind == "not critical":
            return (
                f"not critical: gradient norm {number(self.gradient_norm, 2)} against a tolerance of "
                f"{number(self.gradient_tolerance, 2)}; the Hessian there has {index}"
            )
        if self.kind == "undetermined":
            return (
                f"undetermined: {self.near_zero} eigenvalues within error ({number(self.error, 2)}) of zero"
            )
        return f"{self.kind}, {index}" if self.kind == "saddle" else self.kind


def classify(
    obj: AbstractObjective,
    theta: Tensor | None = None,
    *,
    k: int = 10,
    tol: float = 1e-3,
    gradient_tol: float | None = None,
    pairs: Eigenpairs | None = None,
    seed: int = 0,
) -> Classification:
    """Classify θ (n,), the objective's own point when None, by its gradient and the signs of its Hessian's eigenvalues.

    The gradient counts as zero when ‖g‖ ≤ gradient_tol · abs(λ)max · max(1, ‖θ‖): a step along the stiffest
    direction that would undo it moves θ by less than the fraction `gradient_tol` (1e-7 in float64, 1e-5 in
    float32 when None). An eigenvalue counts as negative or positive only beyond its residual and the rounding
    of the products. Up to n = 512 all eigenvalues are computed, above the k extreme ones (half from each end).

    Parameters
    ----------
    k, tol, seed: of the eigenpairs that are computed above n = 512.
    pairs: eigenpairs from both ends at θ, where they are known already.

    Raises
    ------
    InvalidArgument: pairs, or k, without an eigenvalue from each end.
    """
    theta = obj.checked_point(theta)
    precision = torch.finfo(obj.dtype).eps
    gradient_tol = (1e-7 if obj.dtype == torch.float64 else 1e-5) if gradient_tol is None else gradient_tol
    if pairs is not None and pairs.which != "both":
        raise InvalidArgument(
            f'pairs must come from eigenpairs(..., which="both"), got which={pairs.which!r}'
        )
    count = k if pairs is None else pairs.values.numel()
    if obj.size > DENSE_UP_TO and count < 2:
        raise InvalidArgument(f"{'k' if pairs is None else 'pairs'} must hold at least 2 values, got {count}")
    with hessian(obj, theta) as operator:
        assert operator.here is not None
        norm = float(operator.here.gradient().norm())
        if obj.size <= DENSE_UP_TO:
            values = torch.linalg.eigvalsh(operator.dense().double()).flip(0)
            errors = torch.zeros_like(values)
        else:
            pairs = pairs or eigenpairs(operator, k, "both", tol, seed=seed)
            values, errors = pairs.values.double(), pairs.residuals.double()
        differences = operator.difference_error
    extreme = float(values.abs().max())
    rounding = (10 * precision * obj.size**0.5 + differences) * extreme
    errors = errors + rounding
    index = int((values < -errors).sum())
    positive = int((values > errors).sum())
    near_zero = values.numel() - index - positive
    tolerance = gradient_tol * extreme * max(1.0, float(theta.norm()))
    complete = values.numel() == obj.size
    return Classification(
        _kind(norm > tolerance, index, positive, near_zero),
        index,
        # Values from the bottom end that reach up to zero leave no negative ones unseen.
        not complete and _bottom_all_negative(values, errors),
        near_zero,
        norm,
        tolerance,
        float(values.min()),
        float(values.max()),
        float(errors.max()),
    )


def _kind(sloping: bool, index: int, positive: int, near_zero: int) -> Kind:
    """The kind by how many of the values, the extreme ones among them, have which sign."""
    if sloping:
        return "not critical"
    if index and positive:
        return "saddle"
    if near_zero:
        return "undetermined"
    return "minimum" if positive else "maximum"


def _bottom_all_negative(values: Tensor, errors: Tensor) -> bool:
    bottom = values.numel() // 2
    return bool((values[-bottom:] < -errors[-bottom:]).all())
