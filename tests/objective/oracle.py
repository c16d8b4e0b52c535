"""Derivatives by plain double backward over the whole data, of which nothing is Thalweg's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


class _Whole(nn.Module):
    """A function of a model as a module, so that `functional_call` can put other parameters into the model."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.model)


class Dense:
    """Loss, gradient, Hessian and Gauss-Newton matrix of `loss(model)` at θ, as dense tensors.

    `names` are the parameters that make up θ. The Gauss-Newton matrix is JᵀHₗJ, of `outputs(model)` and
    `output_loss(z)`. `prepare` puts the copy of the model into the mode that is meant, at θ.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module], Tensor],
        theta: Tensor,
        *,
        names: list[str] | None = None,
        outputs: Callable[[nn.Module], Tensor] | None = None,
        output_loss: Callable[[Tensor], Tensor] | None = None,
        prepare: Callable[[nn.Module], None] | None = None,
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        self.names = names or [name for name, p in self.model.named_parameters() if p.requires_grad]
        self.theta = theta.detach()
        self._outputs, self._output_loss = outputs, output_loss
        with torch.no_grad():
            named = dict(self.model.named_parameters())
            for name, piece in self._pieces(self.theta).items():
                named[name].copy_(piece)
        if prepare:
            prepare(self.model)
        f = self._of_theta(loss)
        with sdpa_kernel(SDPBackend.MATH):
            self.loss = f(self.theta).detach()
            leaf = self.theta.clone().requires_grad_()
            (self.gradient,) = torch.autograd.grad(f(leaf), leaf, materialize_grads=True)
            self.hessian = hessian(f, self.theta)

    @cached_property
    def gauss_newton(self) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            z = self._of_theta(self._outputs)
            j = jacobian(lambda theta: z(theta).flatten(), self.theta)
            output = z(self.theta)
            h = hessian(lambda flat: self._output_loss(flat.view(output.shape)), output.flatten())
        return j.T @ h @ j

    def _pieces(self, theta: Tensor) -> dict[str, Tensor]:
        named = dict(self.model.named_parameters())
        pieces, start = {}, 0
        for name in self.names:
            size = named[name].numel()
            pieces[name] = theta[start : start + size].view(named[name].shape)
            start += size
        assert start == theta.numel()
        return pieces

    def _of_theta(self, function: Callable[[nn.Module], Tensor]) -> Callable[[Tensor], Tensor]:
        whole = _Whole(self.model, function)
        return lambda theta: functional_call(
            whole, {f"model.{name}": piece for name, piece in self._pieces(theta).items()}, ()
        )
