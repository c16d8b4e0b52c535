"""A small regression in float64 without random numbers: the same loss and gradients on every machine.

A 4-6-3 tanh network; 64 samples; minibatches of 16 taken in turn, so that step t (from 0) sees rows
16·(t mod 4) and on. Inputs and outputs have unequal scales, so the curvature has too. Data and initial weights
are rounded to multiples of a power of two: no last digit of anyone's sine is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vector: TypeAlias = npt.NDArray[np.float64]

SHAPES: tuple[tuple[int, ...], ...] = ((6, 4), (6,), (3, 6), (3,))
SIZE = 51
STEPS = 300
RECORDED_STEPS: tuple[int, ...] = (1, 2, 10, 100, 300)
SAMPLES, BATCH = 64, 16
OUTPUT_WEIGHTS = np.array([1.0, 0.5, 0.25])


def _wave(rows: int, columns: int, slope: float, turn: float) -> Vector:
    i, j = np.mgrid[:rows, :columns]
    return np.sin(slope * (i + 1) + turn * (j + 1) + 1.7 * i * j)


def _data() -> tuple[Vector, Vector]:
    x = np.round(64 * _wave(SAMPLES, 4, 2.3, 0.9)) / 64 * np.array([2.0, 1.0, 0.5, 0.25])
    y = np.stack(
        [np.sin(x[:, 0] + 2 * x[:, 1]), 2 * x[:, 1] * x[:, 2], np.cos(4 * x[:, 3] - x[:, 0])], axis=1
    )
    return x, np.round(64 * y) / 64


INPUTS, TARGETS = _data()


def initial() -> Vector:
    """The starting point (51,): sines of the index, the biases a tenth of the weights."""
    index = np.arange(SIZE)
    scale = np.concatenate([np.full(24, 0.5), np.full(6, 0.05), np.full(18, 0.5), np.full(3, 0.05)])
    return np.round(1024 * scale * np.sin(1 + 3.7 * index)) / 1024


def batch(step: int | None) -> tuple[Vector, Vector]:
    """The inputs (16, 4) and targets (16, 3) of a step, counted from 0; all 64 for None."""
    if step is None:
        return INPUTS, TARGETS
    rows = slice(BATCH * (step % (SAMPLES // BATCH)), BATCH * (step % (SAMPLES // BATCH) + 1))
    return INPUTS[rows], TARGETS[rows]


def unflatten(theta: Vector) -> list[Vector]:
    """The two weight matrices (outputs, inputs) and two bias vectors of a flat point, as views."""
    cuts = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(theta, cuts), SHAPES, strict=True)]


def loss(theta: Vector, step: int | None = None) -> float:
    """The weighted squared error, averaged over the minibatch of a step, or over all samples."""
    w1, b1, w2, b2 = unflatten(theta)
    x, y = batch(step)
    residual = np.tanh(x @ w1.T + b1) @ w2.T + b2 - y
    return float((OUTPUT_WEIGHTS * residual**2).sum(1).mean())


def gradient(theta: Vector, step: int | None = None) -> Vector:
    """The gradient (51,) of `loss`, by hand."""
    w1, b1, w2, b2 = unflatten(theta)
    x, y = batch(step)
    hidden = np.tanh(x @ w1.T + b1)
    outer = 2 * OUTPUT_WEIGHTS * (hidden @ w2.T + b2 - y) / len(x)
    inner = (outer @ w2) * (1 - hidden**2)
    return np.concatenate([(inner.T @ x).ravel(), inner.sum(0), (outer.T @ hidden).ravel(), outer.sum(0)])


def parameters(theta: Vector | None = None) -> list[Tensor]:
    """The point (the initial one for None) as four torch leaves that want gradients."""
    point = initial() if theta is None else theta
    return [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in unflatten(point)]


def torch_loss(params: Sequence[Tensor], step: int | None = None) -> Tensor:
    """`loss` of four torch tensors, differentiable."""
    w1, b1, w2, b2 = params
    x, y = (torch.from_numpy(part) for part in batch(step))
    residual = torch.tanh(x @ w1.T + b1) @ w2.T + b2 - y
    return (torch.from_numpy(OUTPUT_WEIGHTS) * residual**2).sum(1).mean()


def hessian_product(theta: Vector, vector: Vector, step: int | None = None) -> Vector:
    """The Hessian of `loss` times a vector (51,), by double backward."""
    params = parameters(theta)
    slopes = torch.autograd.grad(torch_loss(params, step), params, create_graph=True)
    directions = [torch.from_numpy(part) for part in unflatten(vector)]
    return flat(torch.autograd.grad(slopes, params, grad_outputs=directions))


def flat(tensors: Sequence[Tensor]) -> Vector:
    """Tensors as one vector, a copy."""
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def current(optimizer: torch.optim.Optimizer) -> Vector:
    """The point that the optimizer's parameters hold now."""
    return flat([p for group in optimizer.param_groups for p in group["params"]])


Read: TypeAlias = Callable[[torch.optim.Optimizer], Vector]


def run(optimizer: torch.optim.Optimizer, steps: int = STEPS, read: Read = current) -> dict[int, Vector]:
    """Train the optimizer's four `parameters()`; what `read` sees after each of the recorded steps.

    The gradient comes by a closure, so an optimizer may ask for it more than once a step.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    points: dict[int, Vector] = {}
    for step in range(steps):

        def closure(step: int = step) -> float:
            optimizer.zero_grad()
            value = torch_loss(params, step)
            value.backward()
            return float(value.detach())

        optimizer.step(closure)
        if step + 1 in RECORDED_STEPS:
            points[step + 1] = read(optimizer)
    return points
