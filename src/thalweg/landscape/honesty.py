"""What a line or plane hides: the curvature outside of it, how it lies, and the noise of its data."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.curvature import Eigenpairs, SymmetricOperator, eigenpairs, hessian
from thalweg.landscape.plane import Plane, require_plane
from thalweg.numbers import number, with_error
from thalweg.objective import AbstractObjective, Objective, require_objective
from thalweg.objective.metrics import measure


@dataclass(frozen=True)
class Honesty:
    """What a slice cannot show, in numbers; `str` gives it in sentences.

    in_plane: (d,) eigenvalues of UᵀHU at the point that is looked at, descending, U an orthonormal basis of the plane;
    place: where that point lies.
    largest, largest_errors: (k,) eigenvalues of the whole Hessian there, descending; smallest, smallest_error: the
    lowest. angles: (k,) between the plane and the eigenvectors of `largest`, in degrees; 90 is out of the plane.
    random_angle: of a random plane with any direction, on average.
    loss, loss_error: at that point, and its standard error over the data as a sample, NaN where it has none.
    variance_explained, largest_distance: of a trajectory's plane, None of another.
    limits: sentences of the plane's own.
    """

    in_plane: Tensor
    largest: Tensor
    largest_errors: Tensor
    smallest: float
    smallest_error: float
    angles: Tensor
    random_angle: float
    loss: float
    loss_error: float
    variance_explained: float | None
    largest_distance: float | None
    limits: tuple[str, ...]
    place: str = "its center"

    @property
    def sentences(self) -> tuple[str, ...]:
        """For a person, the plane's own limits last; nothing is hidden of a space with no other dimensions."""
        if not self.random_angle:
            return self.limits
        low, high = float(self.in_plane[-1]), float(self.in_plane[0])
        top = with_error(float(self.largest[0]), float(self.largest_errors[0]))
        bottom = with_error(self.smallest, self.smallest_error)
        inside = number(high, 3) if len(self.in_plane) == 1 else f"{number(low, 3)} to {number(high, 3)}"
        angles = ", ".join(f"{angle:.1f}°" for angle in self.angles.tolist())
        told = [
            f"In the picture the curvature at {self.place} is {inside}; in all directions it is {bottom} to {top}.",
            f"Angles to the {len(self.angles)} stiffest directions: {angles} (90° is out of the picture; "
            f"a random one has {self.random_angle:.1f}°).",
        ]
        if math.isfinite(self.loss_error) and self.loss_error > 0:
            share = 100 * self.loss_error / abs(self.loss) if self.loss else math.inf
            told.append(
                f"On other data of this size the loss at {self.place} would differ by about "
                f"{number(self.loss_error, 2)} ({share:.2g} %)."
            )
        return (*told, *self.limits)

    def attributes(self) -> dict[str, Any]:
        """All of it but the plane's own limits in plain values."""
        return {
            "honesty": list(self.sentences[: len(self.sentences) - len(self.limits)]),
            "curvature_in_plane": self.in_plane.tolist(),
            "curvature_largest": self.largest.tolist(),
            "curvature_largest_error": self.largest_errors.tolist(),
            "curvature_smallest": self.smallest,
            "curvature_smallest_error": self.smallest_error,
            "degrees_to_largest": self.angles.tolist(),
            "degrees_at_random": self.random_angle,
        }

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def honesty(
    obj: AbstractObjective,
    plane: Plane,
    *,
    k: int = 3,
    pairs: Eigenpairs | None = None,
    operator: SymmetricOperator | None = None,
    seed: int = 0,
) -> Honesty:
    """Measure at the point that the plane is of what the plane hides.

    Parameters
    ----------
    k: leading eigenvectors to hold it against. pairs: eigenpairs from both ends at that point, where they are known;
    operator: the Hessian there, where there is one.
    """
    require_objective(obj)
    require_plane(plane)
    center = obj.checked_point(plane.theta)
    basis = torch.linalg.qr(plane.directions.double()).Q.to(center)
    with hessian(obj, center) if operator is None else nullcontext(operator) as operator:
        inner = (basis.T @ (operator @ basis)).double().cpu()
        if pairs is None:
            top = eigenpairs(operator, min(k, obj.size), "largest", 1e-2, seed=seed)
            low = eigenpairs(operator, 1, "smallest", 1e-2, seed=seed)
            values, errors, vectors = top.values, top.errors, top.vectors
            smallest, smallest_error = float(low.values[0]), float(low.errors[0])
        else:
            count = min(k, (len(pairs.values) + 1) // 2)
            values, errors, vectors = pairs.values[:count], pairs.errors[:count], pairs.vectors[:, :count]
            smallest, smallest_error = float(pairs.values[-1]), float(pairs.errors[-1])
    shown = (basis.T @ vectors).norm(dim=0).clamp(max=1).double()
    loss, loss_error = _loss(obj, center)
    facts = plane.facts
    explained, away = facts.get("variance_explained"), facts.get("largest_distance")
    return Honesty(
        torch.linalg.eigvalsh((inner + inner.T) / 2).flip(0),
        values.double().cpu(),
        errors.double().cpu(),
        smallest,
        smallest_error,
        torch.rad2deg(torch.arccos(shown)).cpu(),
        math.degrees(math.acos(min(1.0, math.sqrt(plane.dim / obj.size)))),
        loss,
        loss_error,
        None if explained is None else float(explained),
        None if away is None else float(away),
        plane.limits,
        plane.place,
    )


def _loss(obj: AbstractObjective, center: Tensor) -> tuple[float, float]:
    if not isinstance(obj, Objective):
        return float(obj.loss(center)), 0.0
    with obj.at(center) as here:
        found = measure(here, ("loss",))["loss"]
    return found.value, found.stderr
