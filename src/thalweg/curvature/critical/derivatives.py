"""Gradients and dense Hessians of an objective at many points at once, counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.func import vmap

from thalweg.curvature.matrices.hessian import hessian
from thalweg.objective import AbstractObjective, Objective
from thalweg.surfaces import Surface

Formula: TypeAlias = Callable[[Tensor], Tensor]

HELD = 2**24
"""Bytes that derivatives of a model at several points may hold at once, as much as caches hold; one may need more."""


class Derivatives:
    """The derivatives of `objective`; `gradients`, `hessians` and `products` count single points and vectors so far.

    Points of surfaces are evaluated all at once, those of models in blocks where the model can be mapped over its
    parameters; any other objective is asked point by point.
    """

    def __init__(self, objective: AbstractObjective) -> None:
        self.objective = objective
        self.gradients = 0
        self.hessians = 0
        self.products = 0
        self._bytes: float | None = None
        self._mapped: bool | None = None if isinstance(objective, Objective) else False

    def gradient(self, points: Tensor) -> Tensor:
        """∇f at each row of `points` (b, n), shape (b, n); what is not finite stays so."""
        self.gradients += len(points)
        if not len(points):
            return points
        if isinstance(self.objective, Surface):
            return self.objective.gradient(points)
        if self._can_be_mapped(points[0]):
            return self._over_points(_slope, points, 1)
        return torch.stack([self.objective.gradient(point) for point in points])

    def hessian(self, points: Tensor) -> Tensor:
        """∇²f at each row of `points` (b, n), symmetric, shape (b, n, n); what is not finite stays so."""
        self.hessians += len(points)
        if not len(points):
            return points.new_empty(0, points.shape[1], points.shape[1])
        if isinstance(self.objective, Surface):
            matrices = self.objective.hessian(points)
        elif self._can_be_mapped(points[0]):
            matrices = self._over_points(_matrix, points, self.objective.size)
        else:
            return torch.stack([self._dense(point) for point in points])
        return (matrices + matrices.mT) / 2

    def _dense(self, point: Tensor) -> Tensor:
        with hessian(self.objective, point) as operator:
            return operator.dense()

    def _over_points(
        self, derivative: Callable[[Formula, Tensor], Tensor], points: Tensor, columns: int
    ) -> Tensor:
        """`derivative` of the loss at all points, in blocks of points that hold about `HELD` bytes."""
        model = cast(Objective, self.objective)

        def at(block: Tensor) -> Tensor:
            return model.sum_over_batches(
                lambda _, batch: derivative(vmap(lambda theta: model.at_batch(theta, batch, {})), block),
                derivatives=True,
            )

        if self._bytes is None:
            with model.evaluating(derivatives=True):
                self._bytes = max(model.graph_bytes(batch, {}) for _, batch in model.batches)
        blocks = points.split(max(1, int(HELD / (self._bytes * columns + 1))))
        with warnings.catch_warnings():
            # Of functions that are mapped by a loop, which is no slower than going point by point.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return torch.cat([at(block) for block in blocks])

    def _can_be_mapped(self, point: Tensor) -> bool:
        """Whether mapped derivatives exist and are the same as those that the objective gives itself."""
        if self._mapped is None:
            self._mapped = self._agrees(point)
        return self._mapped

    def _agrees(self, point: Tensor) -> bool:
        model = cast(Objective, self.objective)
        if model.batchnorm != "eval":
            return False
        direction = torch.linspace(-1, 1, model.size, dtype=model.dtype, device=model.device)
        # Functions that cannot be mapped, or not be differentiated twice this way, say so by one of these three;
        # then points are taken one by one, and an error of the model itself comes up there.
        try:
            slope = self._over_points(_slope, point[None], 1)[0]
            product = self._over_points(lambda f, x: _rows(f, x, direction[None, None]), point[None], 1)[0, 0]
        except (RuntimeError, NotImplementedError, ValueError):
            return False
        with model.at(point) as here:
            return _close(slope, here.gradient()) and _close(product, here.hvp(direction))


def _slope(losses: Formula, points: Tensor) -> Tensor:
    """∇f at each row: the loss of a point depends on its own row alone, so that one backward pass serves all."""
    leaf = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(losses(leaf).sum(), leaf)
    return slope


def _rows(losses: Formula, points: Tensor, vectors: Tensor) -> Tensor:
    """vᵀ∇²f at each row of `points` (b, n) for `vectors` (k, 1, n), shape (b, k, n)."""
    leaf = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(losses(leaf).sum(), leaf, create_graph=True)
    if not slope.requires_grad:
        return torch.zeros_like(vectors.expand(-1, *points.shape)).movedim(0, 1)
    (rows,) = torch.autograd.grad(
        slope, leaf, vectors.expand(-1, *points.shape), is_grads_batched=True, materialize_grads=True
    )
    return rows.movedim(0, 1)


def _matrix(losses: Formula, points: Tensor) -> Tensor:
    identity = torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    return _rows(losses, points, identity[:, None])


def _close(a: Tensor, b: Tensor) -> bool:
    # What is not finite, as a start may be, is no reason to go point by point.
    room = 1e3 * torch.finfo(a.dtype).eps * a.numel() ** 0.5
    return not bool((a - b).norm() > room * b.norm())
