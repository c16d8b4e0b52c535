"""Choosing the points of a grid to evaluate until all of it is known to a relative error.

From a coarse grid on, batches of points that lie apart are evaluated where the surrogate is least certain, in an
order that does not depend on the error asked for. Each point's error, before it is evaluated, says whether the
certainty was earned; in the end an audit of points drawn without regard to it decides. Values that are not finite
are not interpolated across: the points around them are evaluated. A pocket of odd values that lies between all
points evaluated stays unseen, as it would between the points of a coarser grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from thalweg.landscape.surrogate import NEIGHBOURS, Array, Splines, scale

Indices = NDArray[np.intp]

MARGIN = 3.0
"""Largest error of a map in standard deviations; measured in benchmarks/adaptive.py."""
CALIBRATION = 1.2
"""The same in units of the largest of the latest points, where that is more."""
ROUGH = 0.4
"""Share of the grid's points after which a surface that is not known yet is called rough."""
AT_MOST = 1500
"""Points through which one surrogate goes; its cost is their cube."""
ROUNDING = 1e-9
"""No error below this is claimed: the splines' own."""
COARSE = 7
AUDITED = 24
"""Points of an audit, at least."""
AUDITED_SHARE = {1: 5, 2: 100}
"""By dimension: of how many points of the grid one is audited. What is rough on a line is so in a small part of it."""
PASSED = 0.7
"""Largest error at an audit's points, in shares of what is claimed of them all."""
_RECENT = 4


@dataclass(frozen=True)
class Refined:
    """A whole grid: values (q, m), which were `evaluated` (q,), what `error` is not exceeded, whether it was rough."""

    values: Array
    evaluated: NDArray[np.bool_]
    error: float
    rough: bool


@dataclass
class Refinement:
    """Refinement over grid points `places` (q, d) in [-1, 1]ᵈ in row order, `shape` points along each axis.

    ask: values (k, m) at k of them. first: those that are asked for together with the coarse grid. seeds: points
    (s, d) off the grid, `seeded` their values (s, m). preview: called with what is known so far, after the coarse grid
    and each time its points have doubled; the error is not audited then.
    """

    places: Array
    shape: tuple[int, ...]
    ask: Callable[[Indices], Array]
    first: Indices
    seeds: Array
    seeded: Array
    preview: Callable[[Refined], None] | None = None
    _values: Array = field(init=False)
    _evaluated: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self._values = np.full((len(self.places), self.seeded.shape[1]), np.nan)
        self._evaluated = np.zeros(len(self.places), dtype=bool)

    def run(self, rtol: float) -> Refined:
        """Evaluate until the error is at most `rtol`; everything where that is 0, or fails."""
        self._evaluate(np.union1d(self._coarse(), self.first))
        most = min(ROUGH * len(self.places), AT_MOST) if rtol > 0 else -1
        if rtol == 0 and self.preview is not None and not self._evaluated.all():
            values, deviations = self._between()
            self.preview(Refined(values, self._evaluated.copy(), _error(MARGIN, deviations), rough=False))
        recent: list[Array] = []
        shown = 0
        while (count := int(self._evaluated.sum())) <= most and not self._evaluated.all():
            values, deviations = self._between()
            off = np.concatenate(recent[-_RECENT:]) if recent else np.zeros((0, 2))
            margin = max(MARGIN, CALIBRATION * float(off[:, 1].max(initial=0.0)))
            error = _error(margin, deviations)
            if self.preview is not None and count >= 2 * shown:
                self.preview(Refined(values, self._evaluated.copy(), error, rough=False))
                shown = count
            settled = len(recent) >= 2 and error <= rtol and bool((recent[-1][:, 0] <= rtol).all())
            chosen = self._audit() if settled else self._batch(deviations)
            self._evaluate(chosen)
            recent.append(self._surprise(chosen, values, deviations))
            if settled and (recent[-1][:, 0] <= PASSED * rtol).all():
                values, deviations = self._between()
                # The audit's points change the surface, too.
                if _error(margin, deviations) <= rtol:
                    # Not the estimate itself: refinement stops where that happens to be low.
                    return Refined(values, self._evaluated, rtol, rough=False)
        self._evaluate(np.flatnonzero(~self._evaluated))
        return Refined(self._values, self._evaluated, 0.0, rough=rtol > 0)

    def _coarse(self) -> Indices:
        lines = [np.round(np.linspace(0, n - 1, min(COARSE, n))).astype(int) for n in self.shape]
        return np.ravel_multi_index(np.meshgrid(*lines, indexing="ij"), self.shape).ravel()

    def _evaluate(self, chosen: Indices) -> None:
        if len(chosen):
            self._values[chosen] = self.ask(chosen)
            self._evaluated[chosen] = True

    def _known(self) -> tuple[Array, Array]:
        """Points and values of all that is evaluated, seeds last."""
        points, values = self.places[self._evaluated], self._values[self._evaluated]
        return np.vstack([points, self.seeds]), np.vstack([values, self.seeded])

    def _between(self) -> tuple[Array, Array]:
        """Values (q, m) everywhere and the largest of their deviations (q,), 0 where evaluated."""
        points, known = self._known()
        values, open_ = self._values.copy(), np.flatnonzero(~self._evaluated)
        deviations = np.zeros(len(self.places))
        # Numbers near overflow are cliffs like infinity.
        sound: NDArray[np.bool_] = np.all(np.isfinite(known) & (np.abs(known) < 1e100), axis=1)
        if sound.sum() < 3 * (self.places.shape[1] + 1):
            deviations[open_] = np.inf
            return values, deviations
        between = Splines(points[sound]).at(self.places[open_])
        for metric in range(values.shape[1]):
            found = between.predict(known[sound, metric])
            values[open_, metric] = found.values
            deviations[open_] = np.maximum(deviations[open_], found.deviations)
        if not sound.all():
            count = min(NEIGHBOURS, len(points))
            nearest = cdist(self.places[open_], points).argpartition(count - 1, axis=1)[:, :count]
            deviations[open_[np.any(~sound[nearest], axis=1)]] = np.inf
        return values, deviations

    def _batch(self, deviations: Array) -> Indices:
        """A twelfth more points, the least certain first, each outside the circle that the ones before clear."""
        distances = cdist(self.places, self._known()[0]).min(axis=1)
        score = np.where(self._evaluated, -1.0, np.minimum(deviations, 10.0) + 1e-9 * distances)
        chosen: list[int] = []
        for _ in range(max(8, int(self._evaluated.sum()) // 12)):
            best = int(score.argmax())
            if score[best] < 0:
                break
            chosen.append(best)
            away = np.linalg.norm(self.places - self.places[best], axis=1)
            score[away < distances[best]] = -1.0
            score[best] = -1.0
        return np.array(chosen, dtype=np.intp)

    def _audit(self) -> Indices:
        open_ = np.flatnonzero(~self._evaluated)
        draw = np.random.default_rng(len(open_))
        count = max(AUDITED, len(self.places) // AUDITED_SHARE[len(self.shape)])
        return np.sort(draw.choice(open_, min(count, len(open_)), replace=False))

    def _surprise(self, chosen: Indices, guessed: Array, deviations: Array) -> Array:
        """At each chosen point the error the guess had, and in deviations: (k, 2)."""
        found, finite = self._values[chosen], np.isfinite(self._values)
        high = np.where(finite, self._values, -np.inf).max(axis=0)
        low = np.where(finite, self._values, np.inf).min(axis=0)
        sizes = [scale(column, max(h - lo, 0.0)) for column, h, lo in zip(found.T, high, low, strict=True)]
        with np.errstate(invalid="ignore"):
            errors = (np.abs(guessed[chosen] - found) / np.stack(sizes, axis=1)).max(axis=1)
        errors = np.where(np.isfinite(errors), errors, np.inf)
        certain = np.isfinite(deviations[chosen]) & np.isfinite(errors)
        ratios = np.zeros(len(chosen))
        ratios[certain] = errors[certain] / np.maximum(deviations[chosen][certain], 1e-12)
        return np.stack([errors, ratios], axis=1)


def _error(margin: float, deviations: Array) -> float:
    return max(margin * float(deviations.max()), ROUNDING)
