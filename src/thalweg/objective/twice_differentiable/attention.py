"""Attention p v with p = softmax(α q kᵀ + mask) over the last axis, and its derivatives of first and second order.

PyTorch's path that can be differentiated twice makes each step of it an operation of its own, with as many passes over
arrays of the size of p.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.objective.twice_differentiable.asked import asked

aten: Any = torch.ops.aten


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`torch.nn.functional.scaled_dot_product_attention` without dropout, on heads that are alike; else PyTorch's."""
    alike = query.dim() >= 3 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    fixed = attn_mask is None or not attn_mask.requires_grad
    if dropout_p or enable_gqa or not alike or not fixed:
        return NotImplemented
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    alpha = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return cast(Tensor, _Attention.apply(query, key, value, attn_mask, alpha))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, alpha: float) -> Tensor:
        scores = (alpha * q) @ k.mT
        if mask is not None:
            scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else scores.add_(mask)
        # A place that may attend to nothing attends to nothing.
        p = aten._safe_softmax(scores, -1)
        ctx.save_for_backward(q, k, v, p)
        ctx.alpha = alpha
        return p @ v

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        q, k, v, p = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return (*_slopes(slopes[0], q, k, v, p, ctx.alpha)[:3], None, None)
        return (*_Slopes.apply(slopes[0], q, k, v, p, ctx.alpha), None, None)  # pyright: ignore[reportGeneralTypeIssues]


def _slopes(s: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor, alpha: float) -> tuple[Tensor, ...]:
    """The slopes of ⟨s, p v⟩ with respect to q, k and v, and to p and to the scores."""
    to_p = s @ v.mT
    to_scores = _through_softmax(to_p, p)
    scaled = alpha * to_scores
    return scaled @ k, scaled.mT @ q, p.mT @ s, to_p, to_scores


def _through_softmax(slope: Tensor, p: Tensor) -> Tensor:
    """p ∘ (slope − Σ slope ∘ p)."""
    return aten._softmax_backward_data(slope, p, -1, p.dtype)


class _Slopes(torch.autograd.Function):
    """`_slopes` of q, k and v. In their derivatives p stands for what q and k make it."""

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor, alpha: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_q, of_k, of_v, to_p, to_scores = _slopes(s, q, k, v, p, alpha)
        ctx.save_for_backward(s, q, k, v, p, to_p, to_scores)
        ctx.alpha = alpha
        return of_q, of_k, of_v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        s, q, k, v, p, to_p, to_scores = ctx.saved_tensors
        dq, dk, dv = directions
        to_s, to_q, to_k, to_v = asked(ctx, 4)
        of_s = of_q = of_k = of_v = None
        turned = ((ctx.alpha * dq) @ k.mT).add_((ctx.alpha * q) @ dk.mT)
        through = _through_softmax(turned, p)
        if to_s:
            of_s = (through @ v).add_(p @ dv)
        if to_v:
            of_v = through.mT @ s
        if to_q or to_k:
            # The slope of p ∘ (t − Σ t ∘ p), t the slope to p, with respect to p.
            along = (turned * p).sum(-1, keepdim=True)
            mean = (to_p * p).sum(-1, keepdim=True)
            of_p = (s @ dv.mT).addcmul_(turned, to_p - mean).addcmul_(to_p, along, value=-1)
            of_scores = _through_softmax(of_p, p)
            if to_q:
                of_q = (of_scores @ k).add_(to_scores @ dk).mul_(ctx.alpha)
            if to_k:
                of_k = (of_scores.mT @ q).add_(to_scores.mT @ dq).mul_(ctx.alpha)
        return of_s, of_q, of_k, of_v, None, None
