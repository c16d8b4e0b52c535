"""The points of a plane at which an objective was evaluated, wherever they lie, in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from thalweg.landscape.refinement import Indices
from thalweg.landscape.surrogate import Array
from thalweg.store import Run

SUFFIX = ".evaluated"
"""After a slice's name: the grid of a run folder with its evaluated points, numbered, by their coordinates."""
_SEEDS = 750


class Evaluated:
    """Evaluates `metrics` by `measure`, of coordinates, `together` points at once, on the grid of `axes`; none twice.

    coordinates: of every grid point (q, d), in row order; `places`: the same in units of the grid, -1 to 1.
    A run keeps each point. What it holds from other resolutions and spans are `seeds`, places (s, d) with values
    `seeded` (s, m), and `first`, the indices of those on this grid; a continued run starts from the same ones,
    whatever the interrupted one added. count: evaluations now. found: the metrics (q, m) of every grid point, NaN where
    it was not asked for.
    """

    def __init__(
        self,
        measure: Callable[[list[list[float]]], Sequence[Mapping[str, float]]],
        together: int,
        axes: Mapping[str, np.ndarray],
        metrics: Sequence[str],
        run: Run | None,
        grid: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._measure, self._together = measure, together
        self._metrics = list(metrics)
        self._names, self._run, self._grid, self._progress = list(axes), run, grid + SUFFIX, progress
        self.coordinates = _places(list(axes.values()))
        self.places = _places([np.linspace(-1, 1, len(axis)) for axis in axes.values()])
        self.found = np.full((len(self.places), len(self._metrics)), np.nan)
        self.count = 0
        self._done = 0
        ends = np.array([[axis[0], axis[-1]] for axis in axes.values()])
        self._middle, self._half = ends.mean(axis=1), (ends[:, 1] - ends[:, 0]) / 2
        rows = [] if run is None else [values for _, values in sorted(run.points(self._grid).items())]
        self._rows: list[dict[str, float]] = rows
        self._numbers = {self._key(self._coordinates(row)): k for k, row in enumerate(rows)}
        self.first, self.seeds, self.seeded = self._start(
            [[float(axis[0]), float(axis[-1]), len(axis)] for axis in axes.values()]
        )

    def ask(self, chosen: Indices) -> Array:
        """The metrics (k, m) at the points of these indices (k,)."""
        found: list[list[float]] = []
        # The same groups in a continued run, for the same bits.
        for start in range(0, len(chosen), self._together):
            before = self.count
            found += self._group(self.coordinates[chosen[start : start + self._together]])
            if self._progress is not None and self.count > before:
                self._progress(self._done + len(found), len(self.coordinates))
        self._done += len(found)
        self.found[chosen] = np.array(found).reshape(-1, len(self._metrics))
        return self.found[chosen]

    def _group(self, places: Array) -> list[list[float]]:
        numbers: list[int] = []
        for place in places:
            numbers.append(self._numbers.setdefault(self._key(place), len(self._rows)))
            if numbers[-1] == len(self._rows):
                self._rows.append(dict(zip(self._names, place.tolist(), strict=True)))
        rows = [self._rows[number] for number in numbers]
        missing = [i for i, row in enumerate(rows) if any(name not in row for name in self._metrics)]
        if missing:
            measured = self._measure([places[i].tolist() for i in missing])
            for i, values in zip(missing, measured, strict=True):
                rows[i] |= values
            self.count += len(missing)
            if self._run is not None:
                self._run.put_points(self._grid, {(numbers[i],): rows[i] for i in missing})
        return [[row[name] for name in self._metrics] for row in rows]

    def _coordinates(self, row: Mapping[str, float]) -> Array:
        return np.array([row[name] for name in self._names])

    def _key(self, where: Array) -> tuple[int, ...]:
        """The same for points that differ by rounding."""
        return tuple(np.round((where - self._middle) / self._half * 1e8).astype(np.int64).tolist())

    def _start(self, axes: list[list[float]]) -> tuple[Indices, Array, Array]:
        """`first`, `seeds` and `seeded`, of the points that were there when this slice was first asked for."""
        usable: list[int] = [
            k for k, row in enumerate(self._rows) if all(name in row for name in self._metrics)
        ]
        if self._run is not None:
            asked = hashlib.sha256(json.dumps([axes, self._metrics]).encode()).hexdigest()[:16]
            usable = self._run.claim_grid(f"{self._grid}.{asked}", usable)
        dim = len(axes)
        placed = np.array([self._coordinates(self._rows[k]) for k in usable]).reshape(-1, dim)
        placed = (placed - self._middle) / self._half
        first, seeds = set[int](), list[int]()
        step = min(2 / (axis[2] - 1) for axis in axes)
        for k, place in enumerate(placed):
            if np.abs(place).max() > 1.1 or len(seeds) == _SEEDS:
                continue
            distances = np.linalg.norm(self.places - place, axis=1)
            if distances.min() < 1e-8:
                first.add(int(distances.argmin()))
            # Of points that nearly coincide the surrogate would see nothing but rounding.
            elif distances.min() > step / 10 and (
                not seeds or cdist(placed[seeds], place[None]).min() > step / 10
            ):
                seeds.append(k)
        values = [[self._rows[usable[k]][name] for name in self._metrics] for k in seeds]
        return (
            np.array(sorted(first), dtype=np.intp),
            placed[seeds],
            np.array(values).reshape(-1, len(self._metrics)),
        )


def _places(axes: Sequence[np.ndarray]) -> Array:
    """Every point of the grid, (q, d), in row order."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
