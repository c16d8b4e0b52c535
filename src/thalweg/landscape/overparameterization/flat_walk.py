"""Walking along the manifold of low loss around a solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.checks import positive, whole
from thalweg.curvature import SymmetricOperator, ggn
from thalweg.errors import InvalidArgument
from thalweg.landscape.overparameterization.zero_modes import largest
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, require_objective

_SOFT = 1e-3
_ITERATIONS = 200


@dataclass(frozen=True)
class FlatWalk:
    """A walk along zero modes, beside a straight one in a random direction.

    end: (n,) where it ended. distances: (steps + 1,) from the start; losses: (steps + 1,) there. straight: (steps + 1,)
    losses at the same distances along a straight line in the random direction that the walk began with.
    products: Gauss-Newton products spent.
    """

    end: Tensor
    distances: Tensor
    losses: Tensor
    straight: Tensor
    products: int

    def __str__(self) -> str:
        start, rise = float(self.losses[0]), float(self.losses.max() - self.losses[0])
        plain = float(self.straight.max() - self.straight[0])
        return (
            f"{number(float(self.distances[-1]), 3)} away the loss of {number(start)} rose by {number(rise, 3)}, in a "
            f"random direction by {number(plain, 3)}"
        )


def flat_walk(
    obj: AbstractObjective,
    theta: Tensor | None = None,
    *,
    distance: float = 0.1,
    steps: int = 20,
    seed: int = 0,
) -> FlatWalk:
    """Walk from θ (n,) where the outputs of the model stay as they are.

    The direction is a random one, and in every step what the Gauss-Newton matrix G at that point acts on is taken out
    of it, by (G + μ)⁻²μ² with μ a thousandth of its largest eigenvalue.

    Parameters
    ----------
    distance: length of the walk, in units of ‖θ‖. steps: equally long ones; more follow a bent manifold more closely.

    Raises
    ------
    InvalidArgument: an argument out of range, an objective without a Gauss-Newton matrix, or no direction left.
    """
    require_objective(obj)
    positive("distance", distance)
    whole("steps", steps)
    start = obj.checked_point(theta)
    length = distance * (float(start.norm()) or 1.0) / steps
    drawn = torch.randn(obj.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        start
    )
    drawn /= drawn.norm()
    direction, here, products = drawn, start, 0
    points: list[Tensor] = [start]
    for _ in range(steps):
        with ggn(obj, here) as operator:
            direction = _free(operator, direction, seed)
            products += operator.products
        norm = float(direction.norm())
        if not norm > 1e-6:
            raise InvalidArgument(f"{obj.name} has no direction here that leaves its outputs as they are")
        direction = direction / norm
        here = here.add(direction, alpha=length)
        points.append(here)
    away = torch.stack([(point - start).norm() for point in points]).double()
    with obj.evaluator(("loss",), 2 * steps + 2) as evaluator:
        losses = [evaluator(point)["loss"] for point in points]
        straight = [evaluator(start.add(drawn, alpha=float(d)))["loss"] for d in away]
    return FlatWalk(
        here,
        away.cpu(),
        torch.tensor(losses, dtype=torch.float64),
        torch.tensor(straight, dtype=torch.float64),
        products,
    )


def _free(operator: SymmetricOperator, v: Tensor, seed: int) -> Tensor:
    """v (n,) without what the operator acts on."""
    from scipy.sparse.linalg import LinearOperator, cg  # takes long to import

    soft = _SOFT * largest(operator, seed)
    size = operator.shape[0]

    def product(x: np.ndarray) -> np.ndarray:
        image = operator @ torch.from_numpy(x.reshape(-1)).to(v)
        return image.double().cpu().numpy() + soft * x.reshape(-1)

    shifted = LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue] - its stubs lack the constructor
    left = v.double().cpu().numpy()
    for _ in range(2):
        solution, _ = cg(shifted, left, rtol=1e-4, maxiter=_ITERATIONS)
        left = soft * solution
    return torch.from_numpy(left).to(v)
