"""What kind of critical point a point is, if it is one, with the evidence and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs, eigenpairs
from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, require_objective

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
    products: Hessian products spent on it.
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
    products: int = 0

    def __str__(self) -> str:
        bound = "at least " if self.index_at_least else ""
        spread = f" (+ 0 to {self.near_zero})" if self.near_zero else "" if self.index_at_least else " (± 0)"
        index = f"index {bound}{self.index}{spread}"
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
    max_k: int = 80,
    seed: int = 0,
) -> Classification:
    """Classify θ (n,), the objective's own point when None, by its gradient and the signs of its Hessian's eigenvalues.

    The gradient counts as zero when ‖g‖ ≤ gradient_tol · abs(λ)max · max(1, ‖θ‖): a step along the stiffest
    direction that would undo it moves θ by less than the fraction `gradient_tol` (1e-7 in float64, 1e-5 in
    float32 when None). An eigenvalue counts as negative or positive only beyond its residual and the rounding
    of the products. Up to n = 512 all eigenvalues are computed, above the k extreme ones (half from each end); and
    where all of those from the lower end are negative, more from there until one is not, or there are `max_k`.

    Parameters
    ----------
    k, tol, seed: of the eigenpairs that are computed above n = 512.
    pairs: eigenpairs from both ends at θ, where they are known already; no others are computed then.
    max_k: most eigenvalues from the lower end; 2 · max_k + 20 vectors of length n are held at most.

    Raises
    ------
    InvalidArgument: pairs, or k, without an eigenvalue from each end.
    """
    require_objective(obj)
    theta = obj.checked_point(theta)
    gradient_tol = default_gradient_tol(obj.dtype) if gradient_tol is None else gradient_tol
    if pairs is not None and pairs.which != "both":
        raise InvalidArgument(
            f'pairs must come from eigenpairs(..., which="both"), got which={pairs.which!r}'
        )
    count = k if pairs is None else pairs.values.numel()
    if obj.size > DENSE_UP_TO and count < 2:
        raise InvalidArgument(f"{'k' if pairs is None else 'pairs'} must hold at least 2 values, got {count}")
    with hessian(obj, theta) as operator:
        assert operator.here is not None
        slope = operator.here.gradient()
        if obj.size <= DENSE_UP_TO:
            values = torch.linalg.eigvalsh(operator.dense().double()).flip(0)
            errors = torch.zeros_like(values)
        else:
            ends = pairs or eigenpairs(operator, k, "both", tol, seed=seed)
            values, errors = ends.values.double(), ends.residuals.double()
            if pairs is None:
                values, errors = _down_to_zero(operator, values, errors, tol, max_k, seed)
        relative, products = operator.product_error, operator.products
    found = by_eigenvalues(
        values,
        errors,
        slope,
        theta,
        gradient_tol,
        lower=values.numel() - (count + 1) // 2,
        relative=relative,
    )
    return replace(found, products=products)


def by_eigenvalues(
    values: Tensor,
    errors: Tensor,
    slope: Tensor,
    theta: Tensor,
    gradient_tol: float,
    *,
    lower: int = 0,
    relative: float = 0.0,
) -> Classification:
    """Classify θ (n,) by the gradient there and eigenvalues (k,) of the Hessian, descending, extreme ones among them.

    `errors` (k,) are beside the rounding of products and their `relative` error. With k < n the last `lower` are from
    the lower end; with k = n these are all.
    """
    size = len(theta)
    extreme = float(values.abs().max())
    errors = errors + (10 * torch.finfo(theta.dtype).eps * size**0.5 + relative) * extreme
    index = int((values < -errors).sum())
    positive = int((values > errors).sum())
    near_zero = values.numel() - index - positive
    norm = float(slope.norm())
    tolerance = gradient_tol * extreme * max(1.0, float(theta.norm()))
    return Classification(
        _kind(norm > tolerance, index, positive, near_zero),
        index,
        # Values from the bottom end that reach up to zero leave no negative ones unseen.
        values.numel() < size and bool((values < -errors)[-lower:].all()),
        near_zero,
        norm,
        tolerance,
        float(values.min()),
        float(values.max()),
        float(errors.max()),
    )


def default_gradient_tol(dtype: torch.dtype) -> float:
    """What ‖g‖ may be, relative to abs(λ)max · max(1, ‖θ‖), at a point that counts as critical."""
    return 1e-7 if dtype == torch.float64 else 1e-5


def _down_to_zero(
    operator: SymmetricOperator, values: Tensor, errors: Tensor, tol: float, most: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Descending eigenvalues from both ends and their errors, with more from the lower while all there are negative."""
    top = (values.numel() + 1) // 2
    lower = values.numel() - top
    most = min(most, operator.shape[0] - top)
    while lower < most and float(values[0]) > 0 and bool((values < -errors)[top:].all()):
        lower = min(4 * lower, most)
        pairs = eigenpairs(operator, lower, "smallest", tol, seed=seed)
        values = torch.cat([values[:top], pairs.values.double().flip(0)])
        errors = torch.cat([errors[:top], pairs.residuals.double().flip(0)])
    return values, errors


def _kind(sloping: bool, index: int, positive: int, near_zero: int) -> Kind:
    """The kind by how many of the values, the extreme ones among them, have which sign."""
    if sloping:
        return "not critical"
    if index and positive:
        return "saddle"
    if near_zero:
        return "undetermined"
    return "minimum" if positive else "maximum"
