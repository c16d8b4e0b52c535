"""On which data a slice was evaluated, and how far other samples of the same kind would move it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from thalweg.landscape.plane import Plane
from thalweg.numbers import with_error
from thalweg.objective import AbstractObjective, BatchNorm, Measurement, Objective
from thalweg.objective.preserved import batchnorms

_STATISTICS: dict[BatchNorm, str] = {
    "eval": "the model's own running statistics at every point",
    "batch": "the statistics of each batch",
    "recalibrate": "statistics re-estimated at every point over the data",
}


def statistics_of(obj: AbstractObjective) -> str:
    """Which statistics batch-norm layers have on the way from point to point, empty without such layers."""
    if not isinstance(obj, Objective) or not batchnorms(obj.model):
        return ""
    return _STATISTICS[obj.batchnorm]


@dataclass(frozen=True)
class Sampling:
    """The data of a slice, and the standard errors of its loss over them.

    samples: over which each loss is a mean, `of` so many that the objective's data hold, drawn with `seed`; None where
    they are all. batchnorm: "eval", "batch" or "recalibrate", None without batch-norm layers; statistics: it in words.
    losses: by "center", the point that is looked at, which lies at `place`, and "highest", of the points evaluated.
    Their standard errors are those of a mean over independent samples, NaN where the loss does not split into
    samples: how far other data of this size would move them, and no less than how far all the data would where these
    are a part. They are no part of `Slice.error`.
    """

    samples: int
    of: int
    seed: int | None
    batchnorm: BatchNorm | None
    statistics: str
    losses: Mapping[str, Measurement]
    place: str = "the center"

    def attributes(self) -> dict[str, Any]:
        """All of it in plain values."""
        found: dict[str, Any] = {"samples": self.samples, "samples_of": self.of}
        if self.seed is not None:
            found["samples_seed"] = self.seed
        if self.batchnorm is not None:
            found["batchnorm"] = self.batchnorm
        for place, loss in self.losses.items():
            found[f"loss_{place}"], found[f"sampling_error_{place}"] = loss.value, loss.stderr
        return found

    def __str__(self) -> str:
        part = f"{self.samples:,} of {self.of:,}" if self.samples < self.of else f"all {self.of:,}"
        drawn = "" if self.seed is None else f", drawn with seed {self.seed}"
        norm = f", batch-norm with {self.statistics}" if self.statistics else ""
        places = {"center": self.place, "highest": "the highest point evaluated"}
        errors = [
            f"{with_error(loss.value, loss.stderr)} at {places[place]}"
            for place, loss in self.losses.items()
            if math.isfinite(loss.stderr)
        ]
        told = f"; with its sampling error the loss is {' and '.join(errors)}" if errors else ""
        return f"Evaluated on {part} samples{drawn}{norm}{told}."


def sampling_of(
    obj: AbstractObjective,
    plane: Plane,
    axes: Sequence[np.ndarray],
    losses: np.ndarray | None,
    evaluated: np.ndarray,
) -> Sampling | None:
    """That of a slice with these `losses` over the `axes`, None where it has none; None for an analytic surface."""
    if not isinstance(obj, Objective):
        return None
    losses_at = {"center": _measured(obj, plane.theta)}
    if losses is not None:
        known = np.where(evaluated & np.isfinite(losses), losses, -np.inf)
        index = np.unravel_index(int(known.argmax()), known.shape)
        if np.isfinite(known[index]):
            place = [float(axis[i]) for axis, i in zip(axes, index, strict=True)]
            losses_at["highest"] = _measured(obj, plane.at(place))
    return Sampling(
        obj.samples,
        obj.drawn.of if obj.drawn else obj.samples,
        obj.drawn.seed if obj.drawn else None,
        obj.batchnorm if batchnorms(obj.model) else None,
        statistics_of(obj),
        losses_at,
        plane.place,
    )


def _measured(obj: Objective, theta: Tensor) -> Measurement:
    with obj.at(theta) as here:
        return here.measure()["loss"]
