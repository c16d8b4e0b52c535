"""Plain torch, in double precision, to compare surveys with."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def double(model: nn.Module, theta: Tensor | None = None) -> nn.Module:
    """A copy of the model in evaluation mode and double precision, with the parameters θ (n,)."""
    copied = copy.deepcopy(model).double().eval()
    if theta is not None:
        nn.utils.vector_to_parameters(theta.double(), copied.parameters())
    return copied


def loss_at(model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, theta: Tensor | None = None) -> float:
    with torch.no_grad():
        return float(loss_fn(double(model, theta)(x.double()), y.double() if y.is_floating_point() else y))


def derivatives(model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (n,) and the dense Hessian (n, n), by differentiating every entry of the gradient."""
    copied = double(model)
    parameters = list(copied.parameters())
    loss = loss_fn(copied(x.double()), y.double() if y.is_floating_point() else y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    rows = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
            ]
        )
        for entry in gradient
    ]
    return gradient.detach(), torch.stack(rows)
