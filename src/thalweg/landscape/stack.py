"""Several random lines through one point: how much a slice depends on its direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thalweg.checks import whole
from thalweg.errors import InvalidArgument
from thalweg.landscape.normalization import Normalization, Treatment
from thalweg.landscape.plane import shadow
from thalweg.landscape.planes import random_line
from thalweg.landscape.sampling import Sampling
from thalweg.landscape.slice import Slice, points_told
from thalweg.landscape.slices import evaluate
from thalweg.objective import AbstractObjective, require_objective
from thalweg.store import Run

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Stack:
    """Slices along k random lines through one point, on the same coordinates.

    alpha: (m,) coordinates. values: by metric, (k, m). slices: the k slices, each with its line and its error.
    """

    alpha: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    slices: tuple[Slice, ...]

    @property
    def error(self) -> float:
        """What no interpolated point's error exceeds, the largest of the slices', as `Slice.error` defines it."""
        return max(found.error for found in self.slices)

    @property
    def evaluations(self) -> int:
        """Points at which the objective was evaluated now."""
        return sum(found.evaluations for found in self.slices)

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what it cannot show."""
        plane = self.slices[0].plane
        return (
            f"It is {len(self.slices)} lines through {plane.center.numel():,} dimensions: their spread is that over "
            "random directions, and no bound on what other directions hold.",
            *(limit for limit in plane.limits if limit not in shadow(plane.center.numel(), 1)),
        )

    @property
    def sampling(self) -> Sampling | None:
        """The data it rests on, with the loss's error at the center; None of an analytic surface."""
        return self.slices[0].sampling

    @property
    def caption(self) -> tuple[str, ...]:
        """Sentences on what it rests on."""
        told = [str(self.sampling)] if self.sampling is not None else []
        evaluated = sum(int(found.evaluated.sum()) for found in self.slices)
        return (*told, points_told(evaluated, len(self.slices) * len(self.alpha), self.error))

    def mean(self, metric: str = "loss") -> NDArray[np.float64]:
        """The mean over the directions (m,); NaN or infinite where any of them is."""
        return self._of(metric).mean(axis=0)

    def std(self, metric: str = "loss") -> NDArray[np.float64]:
        """The standard deviation over the directions (m,), of them as a sample: that of the mean is its √k-th part."""
        found = self._of(metric)
        # Infinities less their mean are NaN, without a word.
        with np.errstate(invalid="ignore"):
            return found.std(axis=0, ddof=1)

    def quantiles(self, q: Sequence[float] = QUANTILES, metric: str = "loss") -> NDArray[np.float64]:
        """The quantiles (len(q), m) over the directions, each q from 0 to 1, interpolated between the values."""
        if not all(0 <= share <= 1 for share in q):
            raise InvalidArgument(f"q must be from 0 to 1, got {tuple(q)}")
        found = self._of(metric)
        with np.errstate(invalid="ignore"):
            return np.quantile(found, list(q), axis=0)

    @property
    def dataset(self) -> xr.Dataset:
        """Labelled arrays: each metric over (direction, alpha), and its mean, deviation and quantiles over alpha."""
        import xarray as xr

        variables: dict[str, Any] = {}
        for name, values in self.values.items():
            variables[name] = (("direction", "alpha"), values)
            variables[f"{name}_mean"] = ("alpha", self.mean(name))
            variables[f"{name}_std"] = ("alpha", self.std(name))
            variables[f"{name}_quantiles"] = (("quantile", "alpha"), self.quantiles(metric=name))
        if not all(found.evaluated.all() for found in self.slices):
            variables["evaluated"] = (
                ("direction", "alpha"),
                np.stack([found.evaluated for found in self.slices]),
            )
        seeds = [int(found.plane.facts["seed"]) for found in self.slices]
        coordinates = {"alpha": self.alpha, "quantile": list(QUANTILES), "seed": ("direction", seeds)}
        attributes = {
            "kind": "stack of random lines",
            "normalization": self.slices[0].plane.facts["normalization"],
            "error": self.error,
            "limits": list(self.limits),
        } | ({} if self.sampling is None else self.sampling.attributes())
        return xr.Dataset(variables, coords=coordinates, attrs=attributes)

    def __str__(self) -> str:
        name = next(iter(self.values))
        mean, deviation = self.mean(name), self.std(name)
        ends = " and ".join(f"{mean[i]:.4g} ± {deviation[i]:.2g} at {self.alpha[i]:g}" for i in (0, -1))
        return f"{len(self.slices)} random lines: {name} is {ends} (mean and deviation over directions)"

    def _of(self, metric: str) -> NDArray[np.float64]:
        if metric not in self.values:
            raise InvalidArgument(f"metric must be one of {', '.join(self.values)}, got {metric!r}")
        return self.values[metric]


def stack(
    obj: AbstractObjective,
    k: int = 10,
    normalization: Normalization = "filter",
    seed: int = 0,
    *,
    center: Tensor | None = None,
    overrides: Mapping[str, Treatment] | None = None,
    resolution: int = 51,
    span: float = 1.0,
    rtol: float | None = 0.01,
    metrics: Sequence[str] = ("loss",),
    run: Run | None = None,
    grid: str = "stack",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Stack:
    """Evaluate `metrics` of `obj` along k random lines through `center` (n,), the objective's point when None.

    Line i is `random_line` with the i-th seed that follows from `seed`, whatever k is: more lines keep the first ones.

    Parameters
    ----------
    k: lines, at least 2. normalization, overrides: as `random_plane` has them. resolution, span, rtol, metrics,
    workers: as `evaluate` has them, for each line.
    run: a run folder that each point is written to, the points of line i as the grid "GRID.i".
    progress: called with (points done, points in all).

    Raises InvalidArgument for fewer lines, and what `random_line` and `evaluate` raise.
    """
    require_objective(obj)
    whole("k", k, 2)
    whole("seed", seed, 0)
    slices = list[Slice]()
    for i, drawn in enumerate(seeds(seed, k)):
        line = random_line(obj, normalization, drawn, center=center, overrides=overrides)

        def advance(done: int, total: int, before: int = i) -> None:
            if progress is not None:
                progress(before * total + done, k * total)

        slices.append(
            evaluate(
                obj,
                line,
                resolution,
                span,
                rtol,
                metrics,
                run=run,
                grid=f"{grid}.{i}",
                workers=workers,
                progress=advance,
            )
        )
    values = {name: np.stack([found.values[name] for found in slices]) for name in metrics}
    return Stack(slices[0].axes["alpha"], values, tuple(slices))


def seeds(seed: int, k: int) -> list[int]:
    """The seeds of k lines, independent of each other and of those of another seed's."""
    return [int(np.random.SeedSequence((seed, i)).generate_state(1)[0]) for i in range(k)]
