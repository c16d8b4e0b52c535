"""Whose points a grid of a run folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from thalweg.errors import RunConflict
from thalweg.landscape.plane import Plane
from thalweg.objective import AbstractObjective
from thalweg.store import Run


def claim(
    run: Run, grid: str, obj: AbstractObjective, plane: Plane, axes: Mapping[str, np.ndarray] | None
) -> None:
    """Make sure that the points of `grid` in the run are of this objective on this plane.

    They are at every point of the grid that `axes` make, or at chosen points of any grid where `axes` is None.
    The plane is told by the lengths of its vectors and their products with a fixed random one, changed code of the
    model by the loss at the center; each is compared with room for the rounding of another machine.

    Raises RunConflict where they are not.
    """
    probe = torch.randn(plane.center.numel(), generator=torch.Generator().manual_seed(0)).to(plane.center)
    vectors = [plane.center, *plane.directions.T]
    lengths = [float(v.norm()) for v in vectors]
    claimed: dict[str, Any] = {
        "objective": obj.fingerprint(),
        "shape": None if axes is None else [len(values) for values in axes.values()],
        "ends": [] if axes is None else [float(values[end]) for values in axes.values() for end in (0, -1)],
        "lengths": lengths,
        "products": [float(v @ probe) / (length or 1.0) for v, length in zip(vectors, lengths, strict=True)],
        "loss": float(obj.loss(plane.center)),
    }
    held: Any = run.claim_grid(grid, claimed)
    same = all(held[name] == claimed[name] for name in ("objective", "shape")) and all(
        np.shape(held[name]) == np.shape(claimed[name])
        and np.allclose(held[name], claimed[name], rtol=1e-3, atol=atol, equal_nan=True)
        # Products with unit vectors are of order one, and may cancel.
        for name, atol in (("ends", 1e-9), ("lengths", 0.0), ("products", 1e-3), ("loss", 1e-12))
    )
    if not same:
        raise RunConflict(
            f"grid {grid!r} of {run.path} holds points of another slice: give another grid= name"
        )
