"""A deep linear network that learns a linear teacher: a non-convex loss whose minima are known."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from thalweg.errors import InvalidArgument
from thalweg.problems.problem import Problem, Training


class DeepLinear(nn.Sequential):
    """A product of `depth` matrices without biases: x (b, inputs) to x W₁ᵀ ⋯ W_depthᵀ (b, outputs).

    Hidden layers have `width` units. Entries are drawn with deviation gain / √fan-in, so with gain 1 the
    layers keep the mean square of what passes. Raises InvalidArgument for sizes below 1.

    References: A. Saxe, J. McClelland, S. Ganguli: Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks, ICLR 2014.
    """

    def __init__(
        self, inputs: int, outputs: int, *, depth: int = 3, width: int = 16, gain: float = 1.0
    ) -> None:
        for name, size in {"inputs": inputs, "outputs": outputs, "depth": depth, "width": width}.items():
            if size < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {size}")
        sizes = [inputs, *[width] * (depth - 1), outputs]
        layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
        super().__init__(*layers)

    def product(self) -> Tensor:
        """The matrix (outputs, inputs) that the network multiplies its input with."""
        first, *rest = [layer.weight for layer in self if isinstance(layer, nn.Linear)]
        for weight in rest:
            first = weight @ first
        return first


def linear_teacher(inputs: int, outputs: int, strengths: Tensor, seed: int) -> Tensor:
    """A matrix (outputs, inputs) with the given singular values and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    rank = len(strengths)
    left = torch.linalg.qr(torch.randn(outputs, rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(inputs, rank, generator=generator)).Q
    return left * strengths @ right.T


def deep_linear(
    depth: int = 3,
    width: int = 16,
    *,
    inputs: int = 16,
    outputs: int = 8,
    rank: int = 4,
    gain: float = 1.0,
    noise: float = 0.0,
    samples: int = 500,
    test_samples: int = 200,
    seed: int = 0,
) -> Problem:
    """Regression on a linear teacher of the given rank by a product of `depth` matrices; squared error.

    x is float32 (n, inputs), standard normal; y is float32 (n, outputs): x times the teacher, whose
    singular values fall evenly from `rank` to 1, so that the modes are learned one after another; plus
    normal noise of deviation `noise`. Without noise the global minimum is 0 and every other critical point
    is a saddle (K. Kawaguchi, NeurIPS 2016), provided width ≥ rank. `seed` draws teacher and data.
    Raises InvalidArgument for sizes below 1 or a rank above inputs or outputs.
    """
    if not 1 <= rank <= min(inputs, outputs):
        raise InvalidArgument(f"rank must be between 1 and {min(inputs, outputs)}, got {rank}")
    if samples < 1 or test_samples < 1:
        raise InvalidArgument(f"samples and test_samples must be at least 1, got {samples}, {test_samples}")
    teacher = linear_teacher(inputs, outputs, torch.arange(rank, 0, -1, dtype=torch.float32), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(samples + test_samples, inputs, generator=generator)
    y = x @ teacher.T + noise * torch.randn(len(x), outputs, generator=generator)
    return Problem(
        name="deep_linear",
        model=lambda: DeepLinear(inputs, outputs, depth=depth, width=width, gain=gain),
        loss_fn=mse_loss,
        train=(x[:samples], y[:samples]),
        test=(x[samples:], y[samples:]),
        training=Training("sgd", lr=0.05, batch_size=50, epochs=50),
        metrics=("loss",),
        description=f"linear teacher of rank {rank}, product of {depth} matrices of width {width}",
        source="A. Saxe, J. McClelland, S. Ganguli, ICLR 2014",
    )
