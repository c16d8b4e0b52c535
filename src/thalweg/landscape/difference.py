"""The difference of two slices over the same axes, with a bound on its error at each point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from thalweg.errors import InvalidArgument
from thalweg.landscape.slice import Slice, points_told, spread
from thalweg.landscape.surrogate import scale

if TYPE_CHECKING:
    import xarray as xr


_ROUNDINGS = 16
"""Roundings, each of a value's size, that a sum over a data set may be off by."""


@dataclass(frozen=True)
class Difference:
    """One slice less another, point by point.

    axes: coordinates along each axis, by name. values: by metric that both have, an array over the axes, NaN where
    either is not finite. bounds: by metric, what the error of each value does not exceed, in the metric's own unit: the
    sum of both slices' errors there and of their rounding. It holds as far as `Slice.error` does; what other samples
    would change is no part of it.
    evaluated: which points were in both. slices: the two.
    """

    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    bounds: dict[str, np.ndarray]
    evaluated: NDArray[np.bool_]
    slices: tuple[Slice, Slice]

    def __str__(self) -> str:
        found = (
            f"{name} {spread(values)} ({self.told_apart(name):.0%} of the points beyond interpolation and rounding)"
            for name, values in self.values.items()
        )
        return f"difference of two slices: {', '.join(found)}"

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what it does not show: how the two slices' planes and data differ, and their own, each once."""
        own = dict.fromkeys(limit for one in self.slices for limit in one.limits)
        return (*self._unlike(), *own)

    @property
    def caption(self) -> tuple[str, ...]:
        """Sentences on what it rests on, and on how much of it is more than interpolation and rounding."""
        told = [
            f"The {name} differs by more than interpolation and rounding explain at {self.told_apart(name):.0%} of "
            "the points."
            for name in self.values
        ]
        first, second = (
            " ".join([*([str(one.sampling)] if one.sampling is not None else []), _points(one)])
            for one in self.slices
        )
        return (*told, f"First: {first}", f"Second: {second}")

    def _unlike(self) -> list[str]:
        first, second = (one.plane.directions for one in self.slices)
        told: list[str] = []
        if first.shape != second.shape or not torch.allclose(
            first.double().cpu(), second.double().cpu(), 1e-5, 0
        ):
            told.append(
                "The two slices have different directions: equal coordinates are not equal steps, and part of the "
                "difference is theirs."
            )
        here, there = (one.plane.theta.double().cpu() for one in self.slices)
        if here.shape == there.shape and not torch.allclose(here, there, 1e-5, 0):
            told.append("The two slices are around different points.")
        a, b = (
            None if one.sampling is None else (one.sampling.samples, one.sampling.of, one.sampling.seed)
            for one in self.slices
        )
        if a != b:
            told.append(
                "The two slices rest on different samples: part of the difference is the samples', and the bounds do "
                "not hold it."
            )
        return told

    def told_apart(self, metric: str = "loss") -> float:
        """Share of the finite points whose difference exceeds the bound of its error; 0 where there is none."""
        found, bounds = self.values[metric], self.bounds[metric]
        finite = np.isfinite(found)
        return float(np.mean(np.abs(found[finite]) > bounds[finite])) if finite.any() else 0.0

    @property
    def dataset(self) -> xr.Dataset:
        """Labelled arrays: each metric's difference and METRIC_bound, and which points were evaluated."""
        import xarray as xr

        arrays = dict(self.values) | {f"{name}_bound": bound for name, bound in self.bounds.items()}
        arrays["evaluated"] = self.evaluated
        variables = {name: (tuple(self.axes), array) for name, array in arrays.items()}
        return xr.Dataset(variables, coords=self.axes, attrs=self.attributes())

    def attributes(self) -> dict[str, Any]:
        """What it is, in plain values; those of the two slices begin with "first_" and "second_"."""
        found: dict[str, Any] = {"kind": "difference", "limits": list(self.limits)}
        for name, one in zip(("first", "second"), self.slices, strict=True):
            own = {key: value for key, value in one.attributes().items() if key != "limits"}
            found |= {f"{name}_{key}": value for key, value in own.items()}
        return found


def difference(a: Slice, b: Slice) -> Difference:
    """Slice a less slice b, which have the same axes; their planes may be of two models. `a - b` is the same.

    Raises InvalidArgument for axes of other names, lengths or coordinates, or where no metric is in both.
    """
    for name, one in (("a", a), ("b", b)):
        if not isinstance(one, Slice):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass numbers
            raise InvalidArgument(f"{name} must be a Slice, got {type(one).__name__}")
    if list(a.axes) != list(b.axes):
        raise InvalidArgument(
            f"the slices must have the same axes, got {', '.join(a.axes)} and {', '.join(b.axes)}"
        )
    for name, axis in a.axes.items():
        other = b.axes[name]
        width = abs(float(axis[-1] - axis[0]))
        if axis.shape != other.shape or not np.allclose(axis, other, rtol=0, atol=1e-6 * width):
            raise InvalidArgument(
                f"the slices must have the same coordinates along {name}, got {_span(axis)} and {_span(other)}: "
                "give both the same resolution and span, and planes of the same extent"
            )
    metrics = [name for name in a.values if name in b.values]
    if not metrics:
        raise InvalidArgument(
            f"the slices must have a metric in common, got {', '.join(a.values)} and {', '.join(b.values)}"
        )
    with np.errstate(invalid="ignore"):
        values = {name: a.values[name] - b.values[name] for name in metrics}
    for array in values.values():
        array[~np.isfinite(array)] = np.nan
    bounds = {name: _bound(a, name) + _bound(b, name) for name in metrics}
    return Difference(dict(a.axes), values, bounds, a.evaluated & b.evaluated, (a, b))


def _bound(found: Slice, metric: str) -> np.ndarray:
    """What the error of each value does not exceed, in the metric's unit."""
    values = found.values[metric]
    finite = np.isfinite(values)
    bound = np.zeros_like(values)
    bound[finite] = _ROUNDINGS * torch.finfo(found.plane.center.dtype).eps * np.abs(values[finite])
    if found.error == 0 or not finite.any():
        return bound
    # The error is relative to the exact values and their range, which may be a little larger than those found.
    factor = found.error / (1 - 3 * found.error) if 3 * found.error < 1 else np.inf
    open_ = finite & ~found.evaluated
    bound[open_] += factor * scale(values[open_], float(np.ptp(values[finite])))
    return bound


def _points(found: Slice) -> str:
    return points_told(int(found.evaluated.sum()), found.evaluated.size, found.error)


def _span(axis: np.ndarray) -> str:
    return f"{len(axis)} from {axis[0]:.6g} to {axis[-1]:.6g}"
