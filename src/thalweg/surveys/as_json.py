"""Measured curvature as JSON can hold it, for run folders and `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from thalweg.curvature import Classification, Eigenpairs, SpectralDensity


def of_eigenpairs(found: Eigenpairs) -> dict[str, Any]:
    """Values with their errors, without the vectors."""
    return {
        "values": found.values.tolist(),
        "residuals": found.residuals.tolist(),
        "converged": found.converged.tolist(),
        "products": found.products,
    }


def of_density(found: SpectralDensity) -> dict[str, Any]:
    """The curve with its band, and what follows from it."""
    return {
        "grid": found.grid.tolist(),
        "density": found.density.tolist(),
        "stderr": found.stderr.tolist(),
        "width": found.width,
        "size": found.size,
        "probes": len(found.nodes),
        "products": found.products,
        "moments": [asdict(moment) for moment in found.moments],
        "fraction_negative": asdict(found.fraction_negative),
    }


def of_classification(found: Classification) -> dict[str, Any]:
    """The kind with its evidence, and how a person reads it."""
    return asdict(found) | {"text": str(found)}
