"""How far the losses on a plane are from those of the run that is drawn on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.landscape.connectivity.ends import as_point
from thalweg.landscape.plane import Plane, require_plane
from thalweg.landscape.trajectory import Points, require_points
from thalweg.numbers import number
from thalweg.objective import AbstractObjective, require_objective


@dataclass(frozen=True)
class FittingError:
    """The losses of a run and of its shadow in a plane.

    value: the mean over the checkpoints of (ln L(w) / L(w̃))², w̃ the nearest point of the plane; 0 where the picture
    has the run's own losses. losses, projected: (T,) L(w) and L(w̃), float64.
    """

    value: float
    losses: Tensor
    projected: Tensor

    def __str__(self) -> str:
        factor = float((self.losses / self.projected).log().abs().max().exp())
        return (
            f"fitting error {number(self.value, 3)}: on the plane the losses of {len(self.losses)} checkpoints are off "
            f"by a factor of up to {number(factor, 3)}"
        )


def fitting_error(obj: AbstractObjective, plane: Plane, checkpoints: Points) -> FittingError:
    """Evaluate the loss at `checkpoints`, one at a time, and at their nearest points of `plane`.

    checkpoints: points (n,), models or their state dictionaries.
    Raises InvalidArgument where a loss is not above zero, so that it has no logarithm.
    Source: Ding, Li & Huang (2023), equation (3).
    """
    require_objective(obj)
    require_plane(plane)
    require_points(checkpoints)
    points = (as_point(obj, checkpoints[i], f"checkpoints[{i}]") for i in range(len(checkpoints)))
    pairs = list[Tensor]()
    for i, point in enumerate(points):
        coordinates, _ = plane.project(point[None])
        pair = torch.stack([obj.loss(point), obj.loss(plane.at(coordinates[0].tolist()))]).double().cpu()
        if not bool((pair > 0).all()):
            raise InvalidArgument(
                f"checkpoints[{i}] and its projection must have losses above zero, got {pair[0]:.3g} and {pair[1]:.3g}"
            )
        pairs.append(pair)
    if not pairs:
        raise InvalidArgument("checkpoints must hold at least one point, got none")
    losses, projected = torch.stack(pairs, dim=1)
    return FittingError(float((losses / projected).log().square().mean()), losses, projected)
