"""Whatever is asked for at the points of a slice: losses by the objective, curvature by Hessian products."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from thalweg.checks import one_of
from thalweg.curvature import eigenpairs, hessian
from thalweg.errors import NotDifferentiable
from thalweg.landscape.plane import Plane
from thalweg.objective import AbstractObjective
from thalweg.objective.metrics import METRICS

CURVATURES = ("lambda_max", "lambda_min", "plane_lambda_max", "plane_lambda_min")
"""Extreme eigenvalues of the whole Hessian, and of the Hessian in the plane."""

TOL = 1e-2
"""Of λmax and λmin, relative to the larger in size."""


@contextmanager
def pointwise(
    obj: AbstractObjective, plane: Plane, metrics: Sequence[str], points: int
) -> Generator[Callable[[Tensor], dict[str, float]]]:
    """A function from θ (n,) to the metrics: those of the objective, and any of `CURVATURES`.

    "lambda_max" and "lambda_min" are found to a hundredth of the larger one, by one search where both are asked for. It
    starts at random at every point, and no point's values depend on the points before it: an eigenvector at the last
    point may be one of the many of nearly zero here, of which the residual is small.

    Raises InvalidArgument for a name that is no metric.
    """
    for name in metrics:
        one_of("metric", name, (*METRICS, *CURVATURES))
    curved = [name for name in metrics if name in CURVATURES]
    plain = [name for name in metrics if name not in CURVATURES]
    if not curved:
        with obj.evaluator(plain, points) as evaluator:
            yield evaluator
        return
    measured = _Curvatures(obj, plane, curved)
    if not plain:
        yield measured
        return
    with obj.evaluator(plain, points) as evaluator:
        yield lambda theta: evaluator(theta) | measured(theta)


class _Curvatures:
    def __init__(self, obj: AbstractObjective, plane: Plane, names: Sequence[str]) -> None:
        self.obj = obj
        self.names = names
        self.basis = torch.linalg.qr(plane.directions.double()).Q.to(obj.point)

    def __call__(self, theta: Tensor) -> dict[str, float]:
        """The curvatures at θ (n,); NaN where they cannot be computed, as where the loss is not finite."""
        try:
            return self._at(theta)
        except NotDifferentiable:
            return dict.fromkeys(self.names, float("nan"))

    def _at(self, theta: Tensor) -> dict[str, float]:
        found: dict[str, float] = {}
        with hessian(self.obj, theta) as operator:
            if {"lambda_max", "lambda_min"} <= set(self.names):
                values = eigenpairs(operator, min(2, self.obj.size), "both", TOL).values
                found |= {"lambda_max": float(values[0]), "lambda_min": float(values[-1])}
            elif "lambda_max" in self.names:
                found["lambda_max"] = float(eigenpairs(operator, 1, "largest", TOL).values[0])
            elif "lambda_min" in self.names:
                found["lambda_min"] = float(eigenpairs(operator, 1, "smallest", TOL).values[0])
            if any(name.startswith("plane") for name in self.names):
                inner = (self.basis.T @ (operator @ self.basis)).double()
                values = torch.linalg.eigvalsh((inner + inner.T) / 2)
                found |= {"plane_lambda_max": float(values[-1]), "plane_lambda_min": float(values[0])}
        return {name: found[name] for name in self.names}
