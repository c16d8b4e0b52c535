"""Derivatives of a formula at many points at once, coordinates on the leading axis.

A formula maps x of shape (n, ...) to values (...), each from its own column; so the gradient of the sum of
all values is the gradient of each, and one backward pass serves the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Formula: TypeAlias = Callable[[Tensor], Tensor]
"""x of shape (n, ...) to values of shape (...), or to residuals of shape (m, ...)."""


def gradient(formula: Formula, x: Tensor) -> Tensor:
    """∇f at x (n, ...), in x's shape."""
    return _slope(formula, x, create_graph=False)[1]


def hessian(formula: Formula, x: Tensor) -> Tensor:
    """∇²f at x (n, ...), of shape (n, n, ...)."""
    with torch.enable_grad():
        leaf, slope = _slope(formula, x, create_graph=True)
        return torch.stack([_derivative(row.sum(), leaf) for row in slope])


def hessian_product(formula: Formula, x: Tensor, v: Tensor) -> Tensor:
    """∇²f(x)v column by column, for x and v of shape (n, ...); in their shape."""
    with torch.enable_grad():
        leaf, slope = _slope(formula, x, create_graph=True)
        return _derivative((slope * v).sum(), leaf)


def gauss_newton_product(residuals: Formula, x: Tensor, v: Tensor) -> Tensor:
    """JᵀJv column by column, J the residuals' Jacobian, for x and v of shape (n, ...); in their shape.

    Jv is the derivative of Jᵀu with respect to u, so that only reverse mode is needed.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        r = residuals(leaf)
        u = torch.zeros_like(r, requires_grad=True)
        (pullback,) = torch.autograd.grad(r, leaf, u, create_graph=True)
        (forward,) = torch.autograd.grad(pullback, u, v, retain_graph=True)
        (product,) = torch.autograd.grad(r, leaf, forward)
    return product


def _slope(formula: Formula, x: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(formula(leaf).sum(), leaf, create_graph=create_graph)
    return leaf, slope


def _derivative(value: Tensor, leaf: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(value, leaf, retain_graph=True, materialize_grads=True)
    return slope
