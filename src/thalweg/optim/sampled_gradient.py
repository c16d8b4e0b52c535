"""The gradient that labels drawn from the model's own predictions would give, in the model's output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective.linearization import KeptHessian
from thalweg.optim.driver.rule import HALF


def sampled_output_gradient(
    loss: Callable[[Tensor], Tensor], output: Tensor, draw: torch.Generator
) -> Tensor:
    """s, shaped like `output`, with mean 0 and the loss's Hessian in the output as its covariance.

    For Σ cᵢℓᵢ with ℓᵢ = −log p(y | zᵢ), sᵢ = √cᵢ ∂ℓᵢ/∂zᵢ at a label y drawn from p: √cᵢ (softmax zᵢ − e_y) for
    cross-entropy, √cᵢ times standard normal for a weighted squared error cᵢ(zᵢ − y)²/2 and whatever else is
    elementwise. For the mean of B terms cᵢ = 1/B, so s is √B times the gradient of the mean loss at sampled labels.

    Which likelihood it is, and each cᵢ, are read off the Hessian of `loss` (output → mean loss), so that masked or
    weighted terms, label smoothing and reductions count as they do in the loss; what it looks like is checked by a
    product with a random vector from `draw`, a generator on the device of `output`. Raises InvalidArgument for a
    loss with another Hessian, or one that is not convex in the output.
    """
    z = output.detach().float() if output.dtype in HALF else output.detach()
    if not bool(z.isfinite().all()):
        return torch.full_like(output, torch.nan)
    hessian = KeptHessian(loss, z)
    probe = _normal(z, draw)
    image = hessian(probe)
    for axis in dict.fromkeys((z.dim() - 1, 1)):
        if axis < z.dim() and (weights := _term_weights(z, probe, image, axis)) is not None:
            return _categorical(z, axis, weights, draw).to(output.dtype)
    diagonal = hessian(torch.ones_like(z))
    if not _agree(diagonal * probe, image):
        raise InvalidArgument(
            "loss: its Hessian in the output is neither that of cross-entropy nor diagonal, so no labels can be "
            "sampled for it: use Hutchinson's estimate (SophiaH)"
        )
    if not _agree(diagonal.clamp(min=0), diagonal):
        raise InvalidArgument(
            f"loss: it is not convex in the output (second derivative {float(diagonal.min()):.3g}), so it is no "
            "likelihood to sample from: use Hutchinson's estimate (SophiaH)"
        )
    return (diagonal.clamp(min=0).sqrt() * _normal(z, draw)).to(output.dtype)


def _term_weights(z: Tensor, probe: Tensor, image: Tensor, axis: int) -> Tensor | None:
    """cᵢ if `image` is cᵢ(diag p − ppᵀ) times `probe` with p the softmax along `axis`, else None."""
    p = z.softmax(axis)
    expected = p * (probe - (p * probe).sum(axis, keepdim=True))
    square = (expected * expected).sum(axis, keepdim=True)
    weights = (image * expected).sum(axis, keepdim=True) / square.clamp(min=torch.finfo(z.dtype).tiny)
    return weights.clamp(min=0) if _agree(weights * expected, image) else None


def _categorical(z: Tensor, axis: int, weights: Tensor, draw: torch.Generator) -> Tensor:
    p = z.softmax(axis).movedim(axis, -1)
    labels = torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=draw).view(*p.shape[:-1], 1)
    gradient = p.scatter_add(-1, labels, p.new_full(labels.shape, -1))
    return weights.sqrt() * gradient.movedim(-1, axis)


def _normal(like: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=draw, dtype=like.dtype, device=like.device)


def _agree(guess: Tensor, found: Tensor) -> bool:
    """Equal but for rounding, which the double backward of a softmax makes larger than one unit."""
    return bool((guess - found).abs().max() <= torch.finfo(found.dtype).eps ** 0.5 * found.abs().max())
