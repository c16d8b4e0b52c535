"""Fisher matrices and gradient covariances by their definitions: one gradient for each datum and each of its labels.

Every gradient is plain autograd of one scalar −log p; nothing is Thalweg's.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Term = tuple[float, Tensor]
"""The weight of a datum (times a label's probability), and its −log p at one label."""


@dataclass
class Likelihood:
    """What a loss says about labels.

    given: output and target to each datum's weight in the mean loss and −log p at the given label.
    drawn: output and target to the same for every label it could have, weights times the label's probability.
    """

    given: Callable[[Tensor, Any], Iterator[Term]]
    drawn: Callable[[Tensor, Any], Iterator[Term]]


def gauss_newton(model: nn.Module, x: Any, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """JᵀHJ, H by torch.func.hessian of the loss of the whole output, J by a backward pass for each of its entries."""
    with evaluated(model) as model:
        output = model(x)
        jacobian = torch.stack([slope(model, entry) for entry in output.flatten()])
        flat = output.detach().flatten()
        middle = torch.func.hessian(lambda z: loss(z.view(output.shape)))(flat)
    return jacobian.T @ middle @ jacobian


def outer_products(model: nn.Module, x: Any, terms: Callable[[Tensor], Iterator[Term]]) -> Tensor:
    """Σ weight · ∇(−log p) ∇(−log p)ᵀ."""
    with evaluated(model) as model:
        found = [(weight, slope(model, term)) for weight, term in terms(model(x)) if weight]
    gradients = torch.stack([gradient for _, gradient in found])
    weights = torch.tensor([weight for weight, _ in found], dtype=gradients.dtype)
    return gradients.T @ (weights[:, None] * gradients)


def slope(model: nn.Module, value: Tensor) -> Tensor:
    parameters = [p for p in model.parameters() if p.requires_grad]
    pieces = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([piece.flatten() for piece in pieces])


class evaluated:
    """A copy of the model in evaluation mode, its attention by the kernel that has derivatives of every order."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()
        self.kernel = sdpa_kernel(SDPBackend.MATH)

    def __enter__(self) -> nn.Module:
        self.kernel.__enter__()
        return self.model

    def __exit__(self, *error: Any) -> None:
        self.kernel.__exit__(*error)


def classes(
    weight: Callable[[Tensor], float], total: Callable[[Tensor], float], axis: int = 1, *, logits: bool = True
) -> Likelihood:
    """Softmax classes along an axis; `weight` of a label, and the `total` that the sum is divided by."""

    def rows(output: Tensor, target: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
        scores = output.movedim(axis, -1).flatten(0, -2)
        scores = scores.log_softmax(-1) if logits else scores
        for row, label in zip(scores, target.flatten(), strict=True):
            yield weight(label) / total(target), row, label

    def given(output: Tensor, target: Tensor) -> Iterator[Term]:
        for share, row, label in rows(output, target):
            if share:
                yield share, -row[label]

    def drawn(output: Tensor, target: Tensor) -> Iterator[Term]:
        for share, row, _ in rows(output, target):
            for logp in row:
                yield share * float(logp.detach().exp()), -logp

    return Likelihood(given, drawn)


def bits(total: Callable[[Tensor], float], pos_weight: Tensor | None = None) -> Likelihood:
    """Independent bits along the last axis; a row is one datum, `pos_weight` the weight of its ones."""

    def given(output: Tensor, target: Tensor) -> Iterator[Term]:
        assert pos_weight is None, "the weights of a row's bits differ: it is no one likelihood"
        for row, label in zip(output.flatten(0, -2), target.flatten(0, -2), strict=True):
            yield 1 / total(target), F.binary_cross_entropy_with_logits(row, label, reduction="sum")

    def drawn(output: Tensor, target: Tensor) -> Iterator[Term]:
        for row, label in zip(output.flatten(0, -2), target.flatten(0, -2), strict=True):
            if pos_weight is None:
                for drawn_label in itertools.product((0.0, 1.0), repeat=len(row)):
                    y = torch.tensor(drawn_label, dtype=row.dtype)
                    term = F.binary_cross_entropy_with_logits(row, y, reduction="sum")
                    yield float((-term.detach()).exp()) / total(target), term
            else:
                # Bits are independent, so with weights each is a datum of its own.
                for z, y, w in zip(row, label, pos_weight, strict=True):
                    share = float(w * y + 1 - y) / total(target)
                    for bit in (0.0, 1.0):
                        term = F.binary_cross_entropy_with_logits(z, torch.tensor(bit, dtype=z.dtype))
                        yield share * float((-term.detach()).exp()), term

    return Likelihood(given, drawn)


def gaussian(rows: Callable[[Tensor], float], variance: Callable[[Tensor], float]) -> Likelihood:
    """Gaussians of one variance around the entries along the last axis; a row is one datum of weight 1 / rows."""

    def given(output: Tensor, target: Tensor) -> Iterator[Term]:
        for row, label in zip(_lines(output), _lines(target), strict=True):
            yield 1 / rows(target), (row - label).square().sum() / (2 * variance(target))

    def drawn(output: Tensor, target: Tensor) -> Iterator[Term]:
        # The slope is linear in the label, so that labels z ± σ√D eₖ have the right second moments.
        for row in _lines(output):
            spread = (variance(target) * len(row)) ** 0.5
            for k in range(len(row)):
                for sign in (-1, 1):
                    label = row.detach().clone()
                    label[k] += sign * spread
                    term = (row - label).square().sum() / (2 * variance(target))
                    yield 1 / rows(target) / (2 * len(row)), term

    return Likelihood(given, drawn)


def _lines(tensor: Tensor) -> Tensor:
    return tensor[:, None] if tensor.dim() == 1 else tensor.flatten(0, -2)
