"""Paths of low loss between two models, bent by training their control points."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from thalweg.checks import one_of, whole
from thalweg.errors import InvalidArgument, NotDifferentiable
from thalweg.landscape.connectivity.barrier import along
from thalweg.landscape.connectivity.ends import End, between_models, finite_point
from thalweg.landscape.connectivity.path import Path, PathKind, as_controls, weights
from thalweg.objective import AbstractObjective, BatchNorm, Objective, require_objective
from thalweg.objective.preserved import batchnorms, preserved_rng

MakeOptimizer: TypeAlias = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Advance: TypeAlias = Callable[[int, int], None]

_GOLDEN = (5**0.5 - 1) / 2
_STRIDE = 0.1


def bezier_path(obj: AbstractObjective, a: End, b: End, *, bends: int = 1, **options: Any) -> Path:
    """A Bezier curve of low loss from a to b, quadratic with one bend; `options` are those of `curved_path`."""
    _check_options(options)
    return curved_path(obj, a, b, "bezier", bends=bends, **options)


def polygon_path(obj: AbstractObjective, a: End, b: End, *, bends: int = 1, **options: Any) -> Path:
    """A chain of straight pieces of low loss from a to b; `options` are those of `curved_path`."""
    _check_options(options)
    return curved_path(obj, a, b, "polygon", bends=bends, **options)


def curved_path(
    obj: AbstractObjective,
    a: End,
    b: End,
    kind: PathKind = "bezier",
    *,
    bends: int = 1,
    steps: int = 1000,
    optimizer: MakeOptimizer | None = None,
    points: int = 25,
    metrics: Sequence[str] = ("loss",),
    batchnorm: BatchNorm | None = None,
    seed: int = 0,
    progress: Advance | None = None,
) -> Path:
    """Bend a path so that its mean loss over t is low, and evaluate it.

    Each step takes the gradient of one batch of the data at one t, of a sequence that fills [0, 1] evenly, and gives
    each control point its share. The control points begin evenly on the straight line. A model with batch-norm is
    trained on the statistics of each batch.

    Parameters
    ----------
    a, b, points, metrics, batchnorm: as `interpolate` has them.
    bends: control points beside the ends. steps: gradients to spend.
    optimizer: makes a torch optimizer from the control points, such as lambda p: tw.optim.SGD(p, lr=0.1, momentum=0.9);
        its rates fall to 0 along a cosine. Adam when None, with a first step of a tenth of the ends' distance.
    seed: of the order of t. progress: called with (steps done, steps in all).

    Raises
    ------
    InvalidArgument, ShapeMismatch: ends that do not fit the objective or are not finite, or an argument out of range.
    NotDifferentiable: the loss is not finite along the straight line.

    Source: Garipov et al. (2018), Loss surfaces, mode connectivity, and fast ensembling of DNNs.
    """
    require_objective(obj)
    one_of("kind", kind, ("bezier", "polygon"))
    whole("bends", bends)
    if optimizer is not None and not callable(optimizer):  # pyright: ignore[reportUnnecessaryComparison] - users pass names
        raise InvalidArgument(
            f"optimizer must be a function of parameters, as lambda p: tw.optim.SGD(p, lr=0.1), got {optimizer!r}"
        )
    whole("steps", steps, least=0)
    start, end = finite_point(obj, a, "a"), finite_point(obj, b, "b")
    spread = [j / (bends + 1) for j in range(1, bends + 1)]
    inner = [nn.Parameter(torch.lerp(start, end, share)) for share in spread]
    _train(obj, kind, start, inner, end, steps, optimizer, seed, progress)
    controls = as_controls([start, *inner, end])
    seen = between_models(obj, batchnorm)
    return along(seen, kind, controls, points=points, metrics=metrics, gradients=steps)


def _check_options(options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(curved_path).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "bends"]
    for name in options:
        one_of("option", name, known)


def _train(
    obj: AbstractObjective,
    kind: PathKind,
    start: Tensor,
    inner: list[nn.Parameter],
    end: Tensor,
    steps: int,
    optimizer: MakeOptimizer | None,
    seed: int,
    progress: Advance | None,
) -> None:
    stride = _STRIDE * float((end - start).norm()) / start.numel() ** 0.5
    chosen = torch.optim.Adam(inner, lr=stride or 1e-3) if optimizer is None else optimizer(inner)
    rates = [group["lr"] for group in chosen.param_groups]
    phase = float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
    gradients = _gradients(obj)
    next(gradients)
    for step in range(steps):
        t = (phase + step * _GOLDEN) % 1
        shares = weights(kind, t, len(inner) + 2)
        with torch.no_grad():
            theta = shares[0] * start + shares[-1] * end
            for share, control in zip(shares[1:-1], inner, strict=True):
                theta = theta.add(control, alpha=share)
        slope = gradients.send(theta)
        if not bool(slope.isfinite().all()):
            raise NotDifferentiable(
                f"the gradient on the path at t = {t:.2f} is not finite: step more carefully"
            )
        for share, control in zip(shares[1:-1], inner, strict=True):
            control.grad = share * slope
        for group, rate in zip(chosen.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        chosen.step()
        if progress is not None:
            progress(step + 1, steps)
    gradients.close()


def _gradients(obj: AbstractObjective) -> Any:
    """Sent θ (n,), gives the gradient there: of one batch of a model's data after the other, of a surface."""
    theta = yield None
    if not isinstance(obj, Objective):
        while True:
            theta = yield obj.gradient(theta)
    trained = obj.with_batchnorm("batch") if batchnorms(obj.model) else obj
    for batch in _endless(trained):
        with trained.evaluating(derivatives=True):
            leaf = theta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(trained.at_batch(leaf, batch, {}), leaf)
        theta = yield slope


def _endless(obj: Objective) -> Iterator[Any]:
    while True:
        batches = iter(obj.batches)
        while True:
            # A loader that is read anew draws a seed for its workers.
            with preserved_rng():
                batch = next(batches, None)
            if batch is None:
                break
            yield batch[1]
