"""A deep linear network as a surface over all its weights: non-convex, with every height of it known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.surfaces.arguments import number, whole
from thalweg.surfaces.surface import Surface


def linear_network(
    depth: int = 2,
    widths: int | Sequence[int] = 2,
    *,
    samples: int = 20,
    noise: float = 0.1,
    seed: int = 0,
    data: tuple[Tensor, Tensor] | None = None,
) -> Surface:
    """‖W_L ⋯ W₁X − Y‖² / 2N over the weights of all layers, θ = (vec W₁, …, vec W_L) by rows.

    `widths` are the `depth` + 1 layer sizes from input to output, or one size for all. X (inputs, N) is
    standard normal and Y (outputs, N) a random linear map of it plus normal noise of deviation `noise`, all
    drawn with `seed`; or (X, Y) is `data`. The start is drawn with `seed` too, at half the scale that keeps
    the variance.

    Listed are a global minimum, whose value is that of reduced-rank regression, and from depth 2 on the
    saddles where training rests, down to the origin: at rank r the product fits the r strongest principal
    components of the regression. At depth 2 all but the minimum are strict saddles; at depths above, the
    origin's Hessian vanishes.

    Raises InvalidArgument for sizes below 1, data that do not match, or depth + 1 ≠ number of widths.
    Sources: P. Baldi, K. Hornik: Neural networks and principal component analysis, Neural Networks 2, 1989;
    K. Kawaguchi: Deep learning without poor local minima, NeurIPS 2016.
    """
    sizes = _sizes(depth, widths)
    x, y = _drawn(sizes, samples, noise, seed) if data is None else _given(sizes, data)
    shapes = [(rows, columns) for columns, rows in itertools.pairwise(sizes)]
    lengths = [rows * columns for rows, columns in shapes]

    def residuals(theta: Tensor) -> Tensor:
        batch = theta.shape[1:]
        output = x.to(theta).reshape(*x.shape, *[1] * len(batch))
        for weights, shape in zip(theta.split(lengths), shapes, strict=True):
            output = torch.einsum("ij...,jk...->ik...", weights.reshape(*shape, *batch), output)
        misfit = output - y.to(theta).reshape(*y.shape, *[1] * len(batch))
        return misfit.flatten(0, 1) / x.shape[1] ** 0.5

    fits = _principal_fits(x, y, sizes)
    # One layer makes a convex least-squares problem, with no saddles.
    listed = fits if depth > 1 else fits[-1:]
    parameters: dict[str, Any] = {"depth": depth, "widths": sizes, "seed": seed}
    if data is None:
        parameters |= {"samples": samples, "noise": noise}
    else:
        parameters |= {"data": [x.tolist(), y.tolist()]}
    generator = torch.Generator().manual_seed(whole("seed", seed, 0))
    start = torch.cat([torch.randn(r * c, generator=generator) / (2 * c**0.5) for r, c in shapes])
    return Surface(
        "linear_network",
        lambda theta: 0.5 * (residuals(theta) ** 2).sum(0),
        start,
        domain=(-2.0, 2.0),
        critical=torch.stack([_weights(left, right, sizes) for left, right in reversed(listed)]),
        global_minimum=_lowest(fits[-1], x, y),
        residuals=residuals,
        parameters=parameters,
        equation=r"\tfrac{1}{2N} \lVert W_L \cdots W_1 X - Y \rVert_F^2",
        description="A product of matrices fitted to data: saddles at every rank, and no bad minimum.",
        source="P. Baldi, K. Hornik, Neural Networks 2, 1989; K. Kawaguchi, NeurIPS 2016",
    )


def _sizes(depth: int, widths: int | Sequence[int]) -> list[int]:
    whole("depth", depth)
    sizes = [widths] * (depth + 1) if isinstance(widths, int) else list(widths)
    if len(sizes) != depth + 1:
        raise InvalidArgument(f"widths must be one size or depth + 1 = {depth + 1} sizes, got {sizes}")
    return [whole("widths", size) for size in sizes]


def _drawn(sizes: list[int], samples: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(whole("seed", seed, 0) + 1)
    inputs, outputs = sizes[0], sizes[-1]
    x = torch.randn(inputs, whole("samples", samples), generator=generator, dtype=torch.float64)
    teacher = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    error = torch.randn(outputs, samples, generator=generator, dtype=torch.float64)
    return x, teacher @ x + number("noise", noise, least=0) * error


def _given(sizes: list[int], data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = (torch.as_tensor(part, dtype=torch.float64) for part in data)
    wanted = f"({sizes[0]}, N) and ({sizes[-1]}, N)"
    matching = x.dim() == y.dim() == 2 and len(x) == sizes[0] and len(y) == sizes[-1]
    if not matching or x.shape[1] != y.shape[1] or not x.shape[1]:
        raise InvalidArgument(f"data must have shapes {wanted}, got {tuple(x.shape)} and {tuple(y.shape)}")
    return x, y


def _principal_fits(x: Tensor, y: Tensor, sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    """(U_r, U_rᵀB) for r = 0, 1, …: B the least-squares map, U_r the r strongest axes of its outputs BX.

    The product U_r U_rᵀB is the best map of rank r (Baldi & Hornik 1989).
    """
    regression = y @ torch.linalg.pinv(x)
    axes, strengths, _ = torch.linalg.svd(regression @ x, full_matrices=False)
    present = int((strengths > 1e-12 * strengths.max()).sum())
    rank = min(*sizes, present)
    return [(axes[:, :r], axes[:, :r].T @ regression) for r in range(rank + 1)]


def _weights(left: Tensor, right: Tensor, sizes: list[int]) -> Tensor:
    """θ whose layers multiply to left @ right: right first, then identities of that rank, then left."""
    rank = left.shape[1]
    layers: list[Tensor] = []
    for layer, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        weights = torch.zeros(rows, columns, dtype=torch.float64)
        if len(sizes) == 2:
            weights += left @ right
        elif layer == 0:
            weights[:rank] = right
        elif layer == len(sizes) - 2:
            weights[:, :rank] = left
        else:
            weights[:rank, :rank] = torch.eye(rank, dtype=torch.float64)
        layers.append(weights.flatten())
    return torch.cat(layers)


def _lowest(fit: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> float:
    left, right = fit
    return float(0.5 * (left @ right @ x - y).square().sum() / x.shape[1])
