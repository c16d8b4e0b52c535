"""K43: many local minima, of similar loss, lower with width."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import thalweg as tw
from claims.finding import Finding

WIDTHS = (1, 2, 4, 8, 16)
SEEDS, STEPS = 16, 2500
TRIVIAL = 0.5
"""The loss of the best constant."""


def findings() -> Iterator[Finding]:
    """Students of one tanh teacher, all seeds of a width at once."""
    before: float | None = None
    for width in WIDTHS:
        losses, slopes = students(width)
        mean, spread = float(losses.mean()), float(losses.std())
        what = f"tanh students of width {width}, {SEEDS} seeds: mean loss (at most the last one)"
        yield Finding("K43", what, mean, most=before)
        yield Finding("K43", "their standard deviation over the trivial loss", spread / TRIVIAL, most=0.01)
        yield Finding("K43", "the same over the mean", spread / mean)
        yield Finding("K43", "largest norm of a gradient", float(slopes.max()))
        before = mean


def teacher() -> tuple[Tensor, Tensor]:
    """200 inputs (200, 3) and the standardized outputs of a network of 20 tanh units: the trivial loss is 1/2."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=draw, dtype=torch.float64)
    inner = torch.randn(3, 20, generator=draw, dtype=torch.float64)
    outer = torch.randn(20, 1, generator=draw, dtype=torch.float64)
    y = torch.tanh(x @ inner) @ outer
    return x, (y - y.mean()) / y.std()


def students(width: int) -> tuple[Tensor, Tensor]:
    """Final losses and gradient norms (seeds,) of as many students at once, each with a loss of its own."""
    x, y = teacher()
    draw = torch.Generator().manual_seed(width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(SEEDS, *shape, generator=draw, dtype=torch.float64)

    inner, outer = normal(3, width) / 3**0.5, normal(width, 1) / width**0.5
    biases = [torch.zeros(SEEDS, 1, n, dtype=torch.float64) for n in (width, 1)]
    params = [p.requires_grad_() for p in (inner, biases[0], outer, biases[1])]

    def losses() -> Tensor:
        return (torch.tanh(x @ params[0] + params[1]) @ params[2] + params[3] - y).square().mean((1, 2)) / 2

    optimizer = tw.optim.Adam(params, lr=0.03)
    schedule = tw.schedules.linear(0.03, STEPS).torch(optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses().sum().backward()
        optimizer.step()
        schedule.step()
    found = losses()
    slopes = torch.autograd.grad(found.sum(), params)
    squares = [slope.square().flatten(1).sum(1) for slope in slopes]
    return found.detach(), torch.stack(squares).sum(0).sqrt()
