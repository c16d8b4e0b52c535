"""Lines and planes through parameter space, each knowing what it cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.numbers import number

AXES = ("alpha", "beta")
_PARALLEL = 1e-3
"""Sine of the angle from which on two directions span a plane, however much their points were rounded."""


@dataclass(frozen=True)
class Plane:
    """The points center + Σ coordinateᵢ · directionᵢ; a line when it has one direction.

    center: (n,). directions: (n, d) with d = 1 or 2, not necessarily orthogonal or of unit length.
    extent: for each direction the (lowest, highest) coordinate that is worth looking at.
    kind: how it was chosen; labels: what each axis is; facts: numbers that belong to it, such as the variance
    explained; limits: sentences on what a picture of it cannot show.
    path: (T, d) coordinates of the points it was made from, and their `distances` (T,) from the plane.
    point: coordinates of the point that is looked at, zeros where they are not given.

    Raises InvalidArgument for points or directions that are not finite, and directions that are zero or parallel.
    """

    center: Tensor
    directions: Tensor
    extent: tuple[tuple[float, float], ...]
    kind: str
    labels: tuple[str, ...]
    facts: Mapping[str, float | str] = field(default_factory=dict[str, float | str])
    limits: tuple[str, ...] = ()
    path: Tensor | None = None
    distances: Tensor | None = None
    point: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # Each direction in one piece, which `at` reads three times as fast.
        object.__setattr__(self, "directions", self.directions.T.contiguous().T)
        object.__setattr__(self, "point", self.point or (0.0,) * self.dim)
        if not bool(torch.isfinite(self.center).all() and torch.isfinite(self.directions).all()):
            raise InvalidArgument(
                f"the points of a slice must be finite, got NaN or infinite entries ({self.kind})"
            )
        for i, direction in enumerate(self.directions.T):
            if not bool(direction.any()):
                raise InvalidArgument(
                    f"direction {i + 1} of a slice must not be zero, as it is between equal points ({self.kind})"
                )
        if self.dim == 2:
            first, second = self.directions.to(torch.promote_types(self.directions.dtype, torch.float32)).T
            left = float((second - first * (first @ second / (first @ first))).norm())
            length = float(second.norm())
            # Differences of points carry the rounding of the points.
            rounding = 8 * torch.finfo(self.center.dtype).eps * (float(self.center.norm()) + length)
            if left <= min(rounding, _PARALLEL * length):
                raise InvalidArgument(
                    f"the two directions of a slice must not be parallel, as of points on one line ({self.kind})"
                )

    def __str__(self) -> str:
        axes = ", ".join(
            f"{label} ({number(low, 4)} to {number(high, 4)})"
            for label, (low, high) in zip(self.labels, self.extent, strict=True)
        )
        what = "line" if self.dim == 1 else "plane"
        return f"{what} in {self.center.numel():,} dimensions, {self.kind}: {axes}"

    @property
    def place(self) -> str:
        """Where the point that is looked at lies: "(0, 0)", or "α = 0" on a line."""
        told = ", ".join(number(coordinate, 4) for coordinate in self.point)
        return f"({told})" if self.dim > 1 else f"α = {told}"

    @property
    def theta(self) -> Tensor:
        """The point (n,) that is looked at: the center, where `point` does not say another."""
        return self.at(self.point) if any(self.point) else self.center

    @property
    def dim(self) -> int:
        """1 for a line, 2 for a plane."""
        return self.directions.shape[1]

    def at(self, coordinates: Sequence[float]) -> Tensor:
        """The point θ (n,) at the given coordinates; ShapeMismatch for another number of them than axes."""
        weights = torch.as_tensor(coordinates, dtype=self.center.dtype, device=self.center.device)
        if weights.shape != (self.dim,):
            raise ShapeMismatch(f"coordinates must have shape ({self.dim},), got {tuple(weights.shape)}")
        return torch.addmv(self.center, self.directions, weights)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (t, d) of the nearest points of the plane to `points` (t, n), and the distances (t,).

        Raises ShapeMismatch for points of another shape.
        """
        if points.dim() != 2 or points.shape[1] != self.center.numel():
            raise ShapeMismatch(
                f"points must have shape (t, {self.center.numel()}), got {tuple(points.shape)}"
            )
        offsets = points - self.center
        coordinates = torch.linalg.lstsq(self.directions.double(), offsets.T.double()).solution.T
        away = offsets.double() - coordinates @ self.directions.double().T
        return coordinates, away.norm(dim=1)

    def axes(self, resolution: int | Sequence[int], span: float) -> dict[str, Tensor]:
        """The grid's coordinates along each axis by name: `resolution` values over `span` times the extent.

        Raises InvalidArgument for a resolution below 3 or a span that is not positive and finite.
        """
        counts = list(resolution) if isinstance(resolution, Sequence) else [resolution] * self.dim
        if len(counts) != self.dim or not all(isinstance(n, Integral) and n >= 3 for n in counts):
            raise InvalidArgument(
                f"resolution must be at least 3 along each of {self.dim} axes, got {resolution}"
            )
        if not isinstance(span, Real) or not 0 < span < float("inf"):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass text
            raise InvalidArgument(f"span must be positive and finite, got {span}")
        found: dict[str, Tensor] = {}
        for name, count, (low, high) in zip(AXES, counts, self.extent, strict=False):
            middle, half = (low + high) / 2, (high - low) / 2 * span
            # Integer steps from the middle: it is hit exactly by an odd resolution.
            steps = torch.arange(count, dtype=torch.float64) * 2 - (count - 1)
            found[name] = middle + half * steps / (count - 1)
        return found


def require_plane(plane: object) -> None:
    """Raise InvalidArgument, with the way to make one, for anything but a plane or a line."""
    if not isinstance(plane, Plane):
        raise InvalidArgument(
            f"plane must be a Plane, such as tw.landscape.random_plane(obj), got {type(plane).__name__}"
        )


def shadow(size: int, dim: int, outside: str = "ways down, and walls, may lie outside it") -> tuple[str, ...]:
    """What every picture of `dim` of `size` dimensions hides: a sentence, none where it shows all of them."""
    return (f"It is a {dim}-D shadow of {size:,} dimensions: {outside}.",) if size > dim else ()


def check_points(points: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raise InvalidArgument for points that are not tensors of one real type, ShapeMismatch for other lengths."""
    for name, point in zip(names, points, strict=True):
        if not isinstance(point, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass models
            raise InvalidArgument(
                f"{name} must be a point, a tensor (n,), got {type(point).__name__}: obj.flatten(state_dict) makes one "
                "of a model's"
            )
    for name, point in zip(names, points, strict=True):
        if point.dim() != 1 or point.shape != points[0].shape:
            raise ShapeMismatch(
                f"{name} must be a vector ({points[0].numel()},), got shape {tuple(point.shape)}"
            )
        if (
            not point.is_floating_point()
            or point.dtype != points[0].dtype
            or point.device != points[0].device
        ):
            wanted = points[0].dtype if points[0].is_floating_point() else "a floating-point type"
            raise InvalidArgument(
                f"{name} must be {wanted} on {points[0].device} like the others, got {point.dtype} on {point.device}"
            )
