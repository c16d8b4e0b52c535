"""What comes of evaluating a line or plane: the map, what it rests on and what it hides."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import InvalidArgument
from thalweg.landscape.honesty import Honesty, honesty
from thalweg.landscape.plane import AXES, Plane
from thalweg.landscape.sampling import Sampling
from thalweg.numbers import number
from thalweg.objective import AbstractObjective

if TYPE_CHECKING:
    import xarray as xr

    from thalweg.landscape.difference import Difference

_PATH = 2000


@dataclass(frozen=True)
class Slice:
    """An evaluated slice.

    values: by metric, an array over the axes, NaN or infinite where the loss is.
    axes: coordinates along each axis, by name. evaluations: points at which the objective was evaluated now.
    error: what no interpolated point's error exceeds, relative to its size or to a thousandth of the map's range where
    that is more, in any metric; an estimate with a margin, audited. 0 when every point was evaluated.
    evaluated: which points were, over the axes. note: says so where the grid was too coarse to interpolate.
    sampling: the data it rests on, with the loss's error as a mean over them; None of an analytic surface.
    objective: what was evaluated, for `honesty`; known: that, where it was measured already.
    """

    plane: Plane
    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    evaluations: int
    error: float
    evaluated: np.ndarray
    note: str = ""
    sampling: Sampling | None = None
    objective: AbstractObjective | None = field(default=None, repr=False, compare=False)
    known: Honesty | None = field(default=None, repr=False, compare=False)

    @cached_property
    def honesty(self) -> Honesty:
        """What the slice hides: measured when it is first asked for, by some tens of Hessian products, then kept.

        From then on `attributes`, `dataset` and `limits` hold it. `tw.landscape.honesty` has options.
        Raises InvalidArgument where the slice has no objective, or one whose loss at its point is another by now, as
        that of a model with batch-norm is once it trains on.
        """
        if self.known is not None:
            return self.known
        if self.objective is None:
            raise InvalidArgument(
                "this slice does not hold its objective: tw.landscape.honesty(obj, plane) measures what it hides"
            )
        if self.sampling is not None:
            before, now = self.sampling.losses["center"].value, float(self.objective.loss(self.plane.theta))
            if not math.isclose(before, now, rel_tol=1e-3, abs_tol=1e-12) and not math.isnan(before):
                raise InvalidArgument(
                    f"the objective has changed since this slice was evaluated: its loss at {self.plane.place} was "
                    f"{before:.6g} and is {now:.6g}: evaluate the slice again"
                )
        return honesty(self.objective, self.plane)

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the slice does not show: the plane's own, and the rest once `honesty` is measured."""
        hidden = self._measured()
        return self.plane.limits if hidden is None else hidden.sentences

    @property
    def caption(self) -> tuple[str, ...]:
        """Sentences on what the slice rests on: its data, and how many points were evaluated."""
        told = [str(self.sampling)] if self.sampling is not None else []
        told.append(points_told(int(self.evaluated.sum()), self.evaluated.size, self.error))
        undefined = ~np.isfinite(next(iter(self.values.values()))[self.evaluated])
        if undefined.any():
            told.append(
                f"At {number(100 * float(undefined.mean()), 2)} % of these the {next(iter(self.values))} is not finite."
            )
        return (*told, *([f"{self.note[:1].upper()}{self.note[1:]}."] if self.note else []))

    @property
    def dataset(self) -> xr.Dataset:
        """The slice as labelled arrays, with what it is in the attributes."""
        import xarray as xr

        arrays = dict(self.values)
        if not self.evaluated.all():
            arrays["evaluated"] = self.evaluated
        variables = {name: (tuple(self.axes), array) for name, array in arrays.items()}
        return xr.Dataset(variables, coords=self.axes, attrs=self.attributes())

    def attributes(self) -> dict[str, Any]:
        """What the slice is, rests on and, once `honesty` is measured, hides, in plain values."""
        attributes: dict[str, Any] = {
            "kind": self.plane.kind,
            "labels": list(self.plane.labels),
            "error": self.error,
            "points": self.evaluated.size,
            "points_evaluated": int(self.evaluated.sum()),
        }
        if self.plane.limits:
            attributes["limits"] = list(self.plane.limits)
        if self.note:
            attributes["note"] = self.note
        attributes |= dict(self.plane.facts) | _path(self.plane)
        if self.sampling is not None:
            attributes |= self.sampling.attributes()
        hidden = self._measured()
        return attributes if hidden is None else attributes | hidden.attributes()

    def __str__(self) -> str:
        parts = [f"{name} {spread(values)}" for name, values in self.values.items()]
        points = points_told(int(self.evaluated.sum()), self.evaluated.size, self.error)
        return f"{', '.join(parts)} on a {self.plane}\n{points}"

    def __getstate__(self) -> dict[str, Any]:
        # A model and its data are no part of a map that is stored or sent elsewhere.
        return self.__dict__ | {"objective": None}

    def __sub__(self, other: Slice) -> Difference:
        from thalweg.landscape.difference import difference

        return difference(self, other)

    def _measured(self) -> Honesty | None:
        return self.__dict__.get("honesty", self.known)


def _path(plane: Plane) -> dict[str, list[float]]:
    """Where the points of the path that the plane was made from lie in it, and how far from it they are."""
    if plane.path is None:
        return {}
    # More than the attributes of a file have room for would not be seen apart.
    rows = range(0, len(plane.path), -(-len(plane.path) // _PATH))
    found = {f"path_{axis}": plane.path[rows, i].tolist() for i, axis in enumerate(AXES[: plane.dim])}
    return found if plane.distances is None else found | {"path_distances": plane.distances[rows].tolist()}


def spread(values: np.ndarray) -> str:
    """The lowest and the highest finite value."""
    finite = values[np.isfinite(values)]
    return (
        f"{number(float(finite.min()), 4)} to {number(float(finite.max()), 4)}"
        if finite.size
        else "nowhere finite"
    )


def points_told(evaluated: int, points: int, error: float) -> str:
    """How many of the points of a map were evaluated, and how well the others are known."""
    if evaluated == points:
        return f"All {points:,} points evaluated."
    return (
        f"{evaluated:,} of {points:,} points evaluated, the rest interpolated to {number(100 * error, 2)} %."
    )
