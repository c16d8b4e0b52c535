"""Layer norm y = w·x̂ + b, where x̂ = r(x − mean x) and r = (var x + ε)^(−1/2), over the last axes of x.

Its derivatives are made of the projection P u = u − mean u − x̂ mean(u x̂), which PyTorch's backward pass computes in
one go; PyTorch's second derivative takes some thirty passes over the activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.objective.twice_differentiable.asked import asked

aten: Any = torch.ops.aten


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """`torch.nn.functional.layer_norm` over the last axis with a weight and a bias; others are PyTorch's."""
    if len(normalized_shape) != 1 or weight is None or bias is None:
        return NotImplemented
    return cast(Tensor, _LayerNorm.apply(input, weight, bias, eps))


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, r = aten.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        if not torch.is_grad_enabled():
            x, weight, bias, mean, r = ctx.saved_tensors
            return (*_slopes(slopes[0], x, weight, bias, mean, r), None)
        found = _Slopes.apply(slopes[0], *ctx.saved_tensors, ctx.eps)
        return (*found, None)  # pyright: ignore[reportGeneralTypeIssues]


def _slopes(
    s: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    found = aten.native_layer_norm_backward(s, x, weight.shape, mean, r, weight, bias, (True, True, True))
    return found[0], found[1], found[2]


class _Slopes(torch.autograd.Function):
    """The slopes (r P(ws), Σ s x̂, Σ s) of ⟨s, y⟩ with respect to x, w and b."""

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, r: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        unit = aten.native_layer_norm(x, weight.shape, None, None, eps)[0]
        h = s * weight
        ctx.save_for_backward(s, x, weight, mean, r, unit, h, (h * unit).mean(-1, keepdim=True))
        ctx.eps = eps
        return _slopes(s, x, weight, bias, mean, r)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        s, x, weight, mean, r, unit, h, along_h = ctx.saved_tensors
        u, dw, db = directions

        def projected(a: Tensor) -> Tensor:
            return aten.native_layer_norm_backward(
                a, x, weight.shape, mean, r, None, None, (True, False, False)
            )[0]

        of_s = of_x = of_weight = None
        to_s, to_x, to_weight = asked(ctx, 3)
        dw = torch.zeros_like(weight) if dw is None else dw
        projection = None if u is None else projected(u)
        if to_s:
            of_s = aten.native_layer_norm(x, weight.shape, dw, db, ctx.eps)[0]
            of_s = of_s if projection is None else of_s.addcmul_(projection, weight)
        meeting = None if projection is None or not (to_x or to_weight) else s * projection
        if to_weight and meeting is not None:
            of_weight = meeting.reshape(-1, weight.numel()).sum(0)
        if to_x:
            to_unit = s * dw
            if u is None or meeting is None:
                of_x = projected(to_unit)
            else:
                # ⟨u, r P(h)⟩ depends on x by x̂ and by r: −r(u mean(h x̂) + h mean(u x̂)) and ⟨u, P h⟩.
                to_unit.addcmul_(u, -r * along_h).addcmul_(h, -r * (u * unit).mean(-1, keepdim=True))
                to_r = (meeting @ weight).unsqueeze(-1).mul_(r).div_(weight.numel())
                of_x = projected(to_unit).addcmul_(unit, to_r, value=-1)
        return of_s, of_x, of_weight, None, None, None, None
