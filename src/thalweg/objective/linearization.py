"""Hessian and Gauss-Newton products on one batch, at one point.

Three ways, from the fastest: the graph of the gradient kept over vectors, double backward anew for each
vector, and central differences of the gradient where a second derivative is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import NotDifferentiable

Loss: TypeAlias = Callable[[Tensor], Tensor]
"""The mean loss of one batch as a function of the flat θ (n,)."""


class Products(Protocol):
    """Products of a symmetric matrix with vectors (n,)."""

    def __call__(self, v: Tensor) -> Tensor:
        """The matrix times v."""
        ...


def gradient(loss: Loss, theta: Tensor) -> Tensor:
    """∇loss at θ, shape (n,)."""
    return _graph(loss, theta, create_graph=False)[1]


def _graph(loss: Loss, theta: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
    """θ as a leaf and the gradient there; with `create_graph` the gradient can be differentiated again."""
    leaf = theta.detach().requires_grad_()
    value = loss(leaf)
    if not value.requires_grad:
        return leaf, torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(value, leaf, create_graph=create_graph, materialize_grads=True)
    return leaf, slope


def _require_complete(slope: Tensor) -> None:
    """Raise NotDifferentiable when part of the graph of `slope` is cut off by a once-differentiable function.

    Autograd puts an error there, but on no path to θ: it would leave that part out without a word.
    """
    seen: set[Any] = set()
    nodes = [slope.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise NotDifferentiable("the model holds a function marked once_differentiable")
        seen.add(node)
        nodes += [earlier for earlier, _ in node.next_functions]


class KeptHessian:
    """Hv = ∇(∇loss·v), with the graph of ∇loss kept: 1.8 to 3.2 gradients a vector instead of 2.8 to 4.9."""

    def __init__(self, loss: Loss, theta: Tensor) -> None:
        self.leaf, self.slope = _graph(loss, theta, create_graph=True)
        _require_complete(self.slope)

    def __call__(self, v: Tensor) -> Tensor:
        """The matrix times v (n,)."""
        if not self.slope.requires_grad:
            return torch.zeros_like(v)
        (product,) = torch.autograd.grad(self.slope, self.leaf, v, retain_graph=True, materialize_grads=True)
        return product


def difference_product(slope: Callable[[Tensor], Tensor], theta: Tensor, v: Tensor) -> tuple[Tensor, float]:
    """Hv from gradients at θ ± hv, and its estimated relative error.

    The step h balances truncation (∝ h²) against rounding (∝ eps/h); the error is the change on halving h,
    which bounds the truncation of the halved one from above and shows the rounding.
    """
    scale = v.norm()
    if not scale:
        return torch.zeros_like(v), 0.0
    step = torch.finfo(v.dtype).eps ** (1 / 3) * (1 + theta.norm() / theta.numel() ** 0.5) / scale

    def central(h: Tensor) -> Tensor:
        return (slope(theta + h * v) - slope(theta - h * v)) / (2 * h)

    coarse, fine = central(step), central(step / 2)
    error = float((coarse - fine).norm() / fine.norm().clamp_min(torch.finfo(v.dtype).tiny))
    return fine, error


class KeptGaussNewton:
    """Gv = JᵀHₗJv for loss = ℓ(z(θ)), with the graphs of z and of ∇ℓ kept.

    Jv is the derivative of Jᵀu with respect to u, so that only reverse mode is needed and every layer that
    can be differentiated twice will do.
    """

    def __init__(
        self, output: Callable[[Tensor], Tensor], output_loss: Callable[[Tensor], Tensor], theta: Tensor
    ) -> None:
        self.leaf = theta.detach().requires_grad_()
        self.output = output(self.leaf)
        self.output_hessian = KeptHessian(output_loss, self.output)
        self.cotangent = torch.zeros_like(self.output, requires_grad=True)
        self.pullback = torch.zeros_like(self.leaf)
        if self.output.requires_grad:
            (self.pullback,) = torch.autograd.grad(
                self.output, self.leaf, self.cotangent, create_graph=True, materialize_grads=True
            )
            _require_complete(self.pullback)

    def __call__(self, v: Tensor) -> Tensor:
        """The matrix times v (n,)."""
        if not self.pullback.requires_grad:
            return torch.zeros_like(v)
        (forward,) = torch.autograd.grad(
            self.pullback, self.cotangent, v, retain_graph=True, materialize_grads=True
        )
        curved = self.output_hessian(forward)
        (product,) = torch.autograd.grad(
            self.output, self.leaf, curved, retain_graph=True, materialize_grads=True
        )
        return product


class DifferenceGaussNewton:
    """Gv = JᵀHₗJv with Jv a central difference of the output, for models without a second derivative.

    `report` is given the estimated relative error of each Jv.
    """

    def __init__(
        self,
        output: Callable[[Tensor], Tensor],
        output_loss: Callable[[Tensor], Tensor],
        theta: Tensor,
        report: Callable[[float], None],
    ) -> None:
        self.output_at, self.report = output, report
        self.leaf = theta.detach().requires_grad_()
        self.output = output(self.leaf)
        self.output_hessian = KeptHessian(output_loss, self.output)

    def __call__(self, v: Tensor) -> Tensor:
        """The matrix times v (n,)."""
        if not self.output.requires_grad or not v.any():
            return torch.zeros_like(v)
        with torch.no_grad():
            forward, error = difference_product(self.output_at, self.leaf.detach(), v)
        self.report(error)
        (product,) = torch.autograd.grad(
            self.output, self.leaf, self.output_hessian(forward), retain_graph=True, materialize_grads=True
        )
        return product


def graph_bytes(loss: Loss, theta: Tensor) -> int:
    """Memory in bytes that a kept gradient graph of this batch holds beyond θ and the batch."""
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        # A new tensor on the same storage: returning the argument itself would make a cycle that never frees.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        leaf, _slope = _graph(loss, theta, create_graph=True)
    seen.pop(leaf.untyped_storage().data_ptr(), None)
    return sum(seen.values())


def is_missing_second_derivative(error: RuntimeError) -> bool:
    """Whether autograd says that a function cannot be differentiated twice."""
    message = str(error)
    return any(
        sign in message
        for sign in (
            "is not implemented",
            "once_differentiable",
            "not differentiable twice",
            "double backward",
        )
    )


def require_full_precision(dtype: torch.dtype, quantity: str) -> None:
    """Second derivatives in half precision are noise: refuse them with the remedy."""
    if dtype not in (torch.float32, torch.float64):
        raise NotDifferentiable(
            f"{quantity} needs float32 or float64 parameters, these are {dtype}: pass model.float()"
        )
