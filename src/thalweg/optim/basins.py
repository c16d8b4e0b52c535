"""Basin maps: which minimum an optimizer reaches from every start in a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.optim.descent import descend
from thalweg.optim.driver.optimizer import RuleOptimizer
from thalweg.optim.outcomes import KINDS, Target
from thalweg.surfaces import Surface

UNSETTLED = -1
DIVERGED = -2


@dataclass(frozen=True, eq=False, repr=False)
class Basins:
    """Which point each start of a grid leads to.

    label: shape (ny, nx), rows along y: the index into `targets` that the start converged to, `UNSETTLED` (-1) where
        it had not after the last step, `DIVERGED` (-2) where it left for good.
    targets: the surface's critical points, minima first, then points of rest that no list has.
    x, y: coordinates of the columns and rows, shapes (nx,) and (ny,).
    """

    label: Tensor
    targets: tuple[Target, ...]
    x: Tensor
    y: Tensor
    surface: str
    optimizer: str
    lr: float
    steps: int

    def __repr__(self) -> str:
        parts = ", ".join(f"{share:.1%} {name}" for name, share in self.shares().items())
        return f"Basins({self.surface}, {self.optimizer}, lr={self.lr}, {self.steps} steps: {parts})"

    def shares(self) -> dict[str, float]:
        """The part of the box that leads to each target, and the unsettled and diverged parts, largest first."""
        values, counts = self.label.unique(return_counts=True)
        named = {UNSETTLED: "unsettled", DIVERGED: "diverged"}
        shares = {
            named.get(value) or str(self.targets[value]): count / self.label.numel()
            for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        }
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def basins(
    surface: Surface,
    optimizer: str | type[RuleOptimizer] = "gradient_descent",
    *,
    lr: float | None = None,
    steps: int = 300,
    resolution: int = 512,
    box: tuple[tuple[float, float], tuple[float, float]] | None = None,
    tolerance: float = 1e-2,
    dtype: torch.dtype = torch.float32,
    compile: bool | None = None,
    **hyperparameters: Any,
) -> Basins:
    """Descend from every point of a grid over a surface of two coordinates and say where each start ends.

    Parameters
    ----------
    resolution: grid points along each axis. box: ((x0, x1), (y0, y1)), the surface's domain if not given.
    tolerance: how near to a minimum a start has reached it, as a part of the domain's diagonal.
    dtype: single precision by default, as a picture needs.
    The others are those of `descend`. A large map is compiled, once per machine.

    Raises InvalidArgument for a surface that has not two coordinates, or a resolution below 2.
    """
    if not isinstance(surface, Surface) or surface.size != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(
            f"surface must be one of two coordinates such as tw.surfaces.get('himmelblau'), got {surface!r}"
        )
    if resolution < 2:
        raise InvalidArgument(f"resolution must be at least 2, got {resolution}")
    if lr is not None and not isinstance(lr, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"lr must be one number, got {lr!r}")
    if box is not None and (np.shape(box) != (2, 2) or any(low >= high for low, high in box)):
        raise InvalidArgument(f"box must be ((x0, x1), (y0, y1)) with x0 < x1 and y0 < y1, got {box}")
    surface = surface.to(dtype)
    ranges = surface.domain.tolist() if box is None else box
    x, y = (torch.linspace(low, high, resolution, dtype=dtype) for low, high in ranges)
    starts = torch.stack([x.expand(resolution, -1), y[:, None].expand(-1, resolution)], -1).reshape(-1, 2)
    descent = descend(
        surface,
        optimizer,
        starts,
        steps=steps,
        lr=lr,
        keep="last",
        tolerance=tolerance,
        follow=not surface.complete,
        compile=compile,
        **hyperparameters,
    )
    outcome = descent.outcome
    kind, label = torch.from_numpy(outcome.kind), torch.from_numpy(outcome.target).clone()
    label[kind == KINDS.index("diverged")] = DIVERGED
    return Basins(
        label.view(resolution, resolution),
        outcome.targets,
        x,
        y,
        surface.name,
        descent.optimizer,
        cast(float, descent.lr),
        steps,
    )
