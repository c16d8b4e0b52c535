"""Hessian products, and products with the output's Jacobian, on one batch at one point.

Three ways, from the fastest: the graph of the gradient kept over vectors, double backward anew for each
vector, and central differences of the gradient where a second derivative is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import NotDifferentiable
from thalweg.objective.twice_differentiable import TwiceDifferentiable
from thalweg.objective.weighted_sum import is_out_of_memory

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


class Layers:
    """What the graphs of one model are made of: the cheapest layers that have served so far.

    Channels are not laid out last where a model takes views that need them first. No cheaper layer serves where it
    differentiates inside: that takes a third derivative of them, or torch.func.
    """

    def __init__(self) -> None:
        self._modes = [
            TwiceDifferentiable(channels_last=True),
            TwiceDifferentiable(),
            TwiceDifferentiable(cheaper=False),
        ]

    def twice(self, build: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The pair that `build` gives, whose second can be differentiated again."""
        while True:
            try:
                with self._modes[0]:
                    found = build()
                _require_complete(found[1])
                return found
            except (RuntimeError, TypeError, ValueError) as error:
                if is_out_of_memory(error) or len(self._modes) == 1:
                    raise
                del self._modes[0]


def _require_complete(slope: Tensor) -> None:
    """Raise NotDifferentiable when part of the graph of `slope` is cut off by a once-differentiable function.

    Autograd puts an error there, but on no path to θ: it would leave that part out without a word.
    """
    if any(node.name() == "torch::autograd::Error" for node in _nodes(slope)):
        raise NotDifferentiable("the model holds a function marked once_differentiable")


class KeptHessian:
    """Hv = ∇(∇loss·v), with the graph of ∇loss kept, so that a vector costs no forward pass."""

    def __init__(self, loss: Loss, theta: Tensor, layers: Layers | None = None) -> None:
        build = lambda: _graph(loss, theta, create_graph=True)  # noqa: E731
        self.leaf, self.slope = (layers or Layers()).twice(build)

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


class Jacobian(Protocol):
    """The derivative J of a batch's output z(θ) at one point."""

    output: Tensor

    def forward(self, v: Tensor) -> Tensor:
        """Jv, shaped like the output, for v (n,)."""
        ...

    def backward(self, u: Tensor) -> Tensor:
        """Jᵀu, shape (n,), for u shaped like the output."""
        ...


class KeptJacobian:
    """J with the graph of z kept, by reverse mode alone, so that every layer that can be differentiated twice will do.

    Jv is the derivative of Jᵀu with respect to u.
    """

    def __init__(
        self, output: Callable[[Tensor], Tensor], theta: Tensor, layers: Layers | None = None
    ) -> None:
        self.leaf = theta.detach().requires_grad_()
        self.cotangent = self.leaf

        def build() -> tuple[Tensor, Tensor]:
            found = output(self.leaf)
            self.cotangent = torch.zeros_like(found, requires_grad=True)
            return found, _pulled_back(found, self.leaf, self.cotangent, create_graph=True)

        self.output, self.pullback = (layers or Layers()).twice(build)

    def forward(self, v: Tensor) -> Tensor:
        """Jv, shaped like the output, for v (n,)."""
        if not self.pullback.requires_grad:
            return torch.zeros_like(self.output)
        (image,) = torch.autograd.grad(
            self.pullback, self.cotangent, v, retain_graph=True, materialize_grads=True
        )
        return image

    def backward(self, u: Tensor) -> Tensor:
        """Jᵀu, shape (n,), for u shaped like the output."""
        return _pulled_back(self.output, self.leaf, u)


class DifferenceJacobian:
    """J with Jv a central difference of the output, for models without a second derivative.

    `report` is given the estimated relative error of each Jv.
    """

    def __init__(
        self, output: Callable[[Tensor], Tensor], theta: Tensor, report: Callable[[float], None]
    ) -> None:
        self.output_at, self.report = output, report
        self.leaf = theta.detach().requires_grad_()
        self.output = output(self.leaf)

    def forward(self, v: Tensor) -> Tensor:
        """Jv, shaped like the output, for v (n,)."""
        if not self.output.requires_grad or not v.any():
            return torch.zeros_like(self.output)
        with torch.no_grad():
            image, error = difference_product(self.output_at, self.leaf.detach(), v)
        self.report(error)
        return image

    def backward(self, u: Tensor) -> Tensor:
        """Jᵀu, shape (n,), for u shaped like the output."""
        return _pulled_back(self.output, self.leaf, u)


def _pulled_back(output: Tensor, leaf: Tensor, u: Tensor, *, create_graph: bool = False) -> Tensor:
    if not output.requires_grad:
        return torch.zeros_like(leaf)
    (image,) = torch.autograd.grad(
        output, leaf, u, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return image


def graph_bytes(loss: Loss, theta: Tensor, layers: Layers) -> int:
    """Memory in bytes that a kept gradient graph of this batch holds beyond θ and the batch."""

    def build() -> tuple[Tensor, Tensor]:
        return _graph(loss, theta, create_graph=True)

    try:
        leaf, slope = layers.twice(build)
    except NotDifferentiable:
        leaf, slope = build()
    held: dict[int, int] = {}
    for node in _nodes(slope):
        for name in dir(node):
            if name.startswith("_saved_") or name == "saved_tensors":
                values = getattr(node, name)
                for value in values if isinstance(values, (tuple, list)) else (values,):
                    if isinstance(value, Tensor) and _has_memory(value):
                        storage = value.untyped_storage()
                        held[storage.data_ptr()] = storage.nbytes()
    held.pop(leaf.untyped_storage().data_ptr(), None)
    return sum(held.values())


def _has_memory(tensor: Tensor) -> bool:
    """Whether it has memory of its own: the wrappers of torch.func have none."""
    try:
        return tensor.data_ptr() >= 0
    except RuntimeError:
        return False


def _nodes(slope: Tensor) -> Iterator[Any]:
    """The nodes of the graph that leads to `slope`."""
    seen: set[Any] = set()
    nodes: list[Any] = [slope.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        nodes += [earlier for earlier, _ in node.next_functions]


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
