"""What a survey measures, and how closely."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thalweg.checks import not_negative
from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective


@dataclass(frozen=True)
class Settings:
    """The numbers that a survey's results depend on, besides its target.

    resolution: points along each axis of a plane, 41 when None and 101 on a surface, which costs next to nothing;
        line_resolution: along a line.
    span: factor on the extent of each slice; normalization: of the random directions. rtol: error of a slice's
        interpolated points, relative; 0 evaluates every point, as on a surface.
    k, tol: eigenpairs (half from each end) and their residual relative to the largest.
    trace_rtol: relative standard error of the trace. probes, steps: of the spectral density.
    rho: radius of the sharpness measures, in units of θ. seed: of every random choice.
    """

    seed: int = 0
    resolution: int | None = None
    line_resolution: int = 101
    span: float = 1.0
    normalization: str = "filter"
    rtol: float = 0.01
    k: int = 10
    tol: float = 1e-3
    trace_rtol: float = 0.05
    probes: int = 8
    steps: int = 48
    rho: float = 0.05

    def plane_resolution(self, objective: AbstractObjective) -> int:
        """Points along each axis of a plane through `objective`."""
        return self.resolution or (101 if objective.batched else 41)

    def __post_init__(self) -> None:
        at_least = {"resolution": 3, "line_resolution": 3, "k": 2, "probes": 2, "steps": 1, "seed": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidArgument(f"{name} must be at least {least}, got {value}")
        for name in ("span", "tol", "trace_rtol", "rho"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InvalidArgument(f"{name} must be positive and finite, got {value}")
        not_negative("rtol", self.rtol)
        if self.normalization not in ("filter", "layer", "model", "none"):
            raise InvalidArgument(
                f"normalization must be filter, layer, model or none, got {self.normalization!r}"
            )
