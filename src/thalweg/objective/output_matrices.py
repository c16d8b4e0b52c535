"""Matrices M in the model's output: with its Jacobian J, JᵀMJ is Gauss-Newton, a Fisher or a gradient covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective.batch_loss import BatchLoss
from thalweg.objective.drawn_labels import classes, normals, uniforms
from thalweg.objective.likelihood import Likelihood, chunks, known_link, likelihood
from thalweg.objective.linearization import Jacobian, KeptHessian, Products, gradient

Map: TypeAlias = Callable[[Tensor], Tensor]
"""A symmetric linear map of tangents shaped like the output."""


@dataclass(frozen=True)
class Outputs:
    """What a model puts out on one batch, and what it takes to build M there.

    output: detached, in full precision. share: the batch's weight in the mean loss, in samples.
    samples: in the batch.
    """

    module: BatchLoss
    output: Tensor
    target: Any
    share: float
    samples: int

    def loss(self, z: Tensor) -> Tensor:
        """The batch's mean loss at another output z."""
        return self.module.output_loss(z, self.target)

    @cached_property
    def likelihood(self) -> Likelihood:
        """The likelihood of the loss; raises InvalidArgument with the remedy where there is none."""
        if self._likelihood is None:
            loss_fn = self.module.output_loss_fn(self.target)
            name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
            raise InvalidArgument(
                f"loss: no likelihood to draw labels from is known for {name}, as it is for cross-entropy, squared "
                'error and binary cross-entropy of logits: use ggn(obj), or fisher(obj, kind="empirical")'
            )
        return self._likelihood

    @property
    def data(self) -> int:
        """How many rows of the output have a weight in the loss."""
        return int(self.likelihood.kept.sum())

    @property
    def slope(self) -> Tensor:
        """The gradient of the mean loss in the output."""
        return gradient(self.loss, self.output)

    @cached_property
    def _likelihood(self) -> Likelihood | None:
        return likelihood(self.module, self.output, self.target)

    def outer(self) -> Map:
        """Σ g gᵀ over samples g, each times the share: of their mean it makes the uncentred covariance."""
        if self.output.shape[:1] != (self.samples,):
            raise InvalidArgument(
                f"outputs: the gradient of each sample needs its output in one row of axis 0: got output "
                f"{tuple(self.output.shape)} for {self.samples} samples; return (output, target) with samples first"
            )
        slopes = (self.slope * self.share**0.5).reshape(self.samples, -1)
        return lambda v: _outer(slopes, v.reshape(slopes.shape)).view(v.shape)

    def empirical(self) -> Map:
        """Σ cᵢ u uᵀ over data, u the slope of each one's −log p at its target."""
        found = self._likelihood
        if found is None:
            return self.outer()
        slopes = found.rows(self.slope)
        if found.link == "identity":
            rows = len(self.output) if self.module.summed else int(found.kept.sum())
            slopes = slopes * rows**0.5
        else:
            slopes = slopes * found.weights.rsqrt().nan_to_num(posinf=0.0)
        return lambda v: found.shaped(_outer(slopes, found.rows(v)), v)


class OutputMatrix(Protocol):
    """A kind of M; equal ones are the same matrix, so that what was built for one serves the other."""

    @property
    def name(self) -> str:
        """What JᵀMJ is called."""
        ...

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch, before which `first` data with a weight came."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class LossHessian:
    """M = Hₗ, the Hessian of the loss in the output: in closed form for torch's losses, else by double backward."""

    name: str = "Gauss-Newton"

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch."""
        found = known_link(outputs.module.output_loss_fn(outputs.target), outputs.output.dim())
        if found is None or found[0] == "log-softmax":
            return KeptHessian(outputs.loss, outputs.output)
        return _expected(outputs)


@dataclass(frozen=True)
class ExactFisher:
    """M = E[uuᵀ], u the slope of −log p in the output, over labels drawn from the model's own predictions."""

    name: str = "exact Fisher"

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch."""
        return _expected(outputs)


@dataclass(frozen=True)
class SampledFisher:
    """The mean of uuᵀ over labels drawn from the model's predictions: draws `first` to `first + samples` of `seed`.

    Each datum has labels of its own, the same in every batch it may come in. Kept are `samples` integers a datum for
    classes, else as many tensors of the output's size.
    """

    seed: int
    samples: int = 1
    first: int = 0
    name: str = "sampled Fisher"

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch."""
        found, z = outputs.likelihood, outputs.likelihood.rows(outputs.output)
        # Rows of ignored targets are not numbered: batches of nothing else are left out of the sum.
        numbers = (found.kept.cumsum(0) - 1).clamp_(min=0) + first
        if found.link in ("softmax", "log-softmax"):
            return self._of_classes(found, z, numbers)
        positions = numbers[:, None] * z.shape[1] + torch.arange(z.shape[1], device=z.device)
        slopes = torch.stack([self._slopes(found, z, draw, positions) for draw in self._draws])

        def product(v: Tensor) -> Tensor:
            along = torch.einsum("sre,re->sr", slopes, found.rows(v))
            return found.shaped(torch.einsum("sre,sr->re", slopes, along).div_(self.samples), v)

        return product

    @property
    def _draws(self) -> range:
        return range(self.first, self.first + self.samples)

    def _slopes(self, found: Likelihood, z: Tensor, draw: int, positions: Tensor) -> Tensor:
        if found.link == "identity":
            return found.weights.sqrt() * normals(self.seed, draw, positions).to(z)
        labels = uniforms(self.seed, draw, positions) < z.sigmoid()
        return found.weights.sqrt() * (z.sigmoid() - labels.to(z))

    def _of_classes(self, found: Likelihood, z: Tensor, numbers: Tensor) -> Map:
        labels = torch.empty(z.shape[0], self.samples, dtype=torch.int64, device=z.device)
        for piece in chunks(z):
            drawn = [uniforms(self.seed, draw, numbers[piece]) for draw in self._draws]
            labels[piece] = classes(z[piece].softmax(1), torch.stack(drawn, 1))
        logits = found.link == "softmax"

        def product(v: Tensor) -> Tensor:
            rows = found.rows(v)
            image = torch.zeros_like(rows)
            for piece in chunks(z):
                # u = p − e_y for logits and −e_y for log-probabilities.
                along = -rows[piece].gather(1, labels[piece])
                if logits:
                    p = z[piece].softmax(1)
                    along += (p * rows[piece]).sum(1, keepdim=True)
                    image[piece] = p.mul_(along.mean(1, keepdim=True))
                image[piece].scatter_add_(1, labels[piece], along / -self.samples)
                image[piece] *= found.weights[piece]
            return found.shaped(image, v)

        return product


@dataclass(frozen=True)
class EmpiricalFisher:
    """M = uuᵀ of every datum, u the slope of −log p at its own target; of another loss, that of every sample."""

    name: str = "empirical Fisher"

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch."""
        return outputs.empirical()


@dataclass(frozen=True)
class SampleGradients:
    """M = uuᵀ of every sample, u the slope of all its terms: JᵀMJ is the mean of g gᵀ over the samples' gradients."""

    name: str = "gradient covariance"

    def on(self, outputs: Outputs, first: int = 0) -> Map:
        """M on one batch."""
        return outputs.outer()


def _expected(outputs: Outputs) -> Map:
    found = outputs.likelihood
    z = found.rows(outputs.output)

    def product(v: Tensor) -> Tensor:
        rows = found.rows(v)
        image = torch.empty_like(rows, memory_format=torch.contiguous_format)
        for piece in chunks(z):
            image[piece] = found.curve(z[piece], rows[piece], found.weights[piece])
        return found.shaped(image, v)

    return product


def _outer(slopes: Tensor, rows: Tensor) -> Tensor:
    """g gᵀ of each row g times the same row of the other."""
    return slopes * (slopes * rows).sum(1, keepdim=True)


class OutputProducts:
    """Products JᵀMJv on one batch for any M, with J linearized once."""

    def __init__(self, jacobian: Jacobian, outputs: Outputs) -> None:
        self.jacobian, self.outputs = jacobian, outputs
        self._maps: dict[OutputMatrix, Map] = {}

    def of(self, matrix: OutputMatrix, first: int = 0) -> Products:
        """The products with one M, which is built when it is first asked for; `first` as in `OutputMatrix.on`."""
        if matrix not in self._maps:
            self._maps[matrix] = matrix.on(self.outputs, first)
        middle, jacobian = self._maps[matrix], self.jacobian

        def product(v: Tensor) -> Tensor:
            image = middle(jacobian.forward(v).to(self.outputs.output.dtype))
            return jacobian.backward(image.to(jacobian.output.dtype))

        return product
