"""All figures of a report, in groups, from its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from thalweg import plots
from thalweg.report.charts import density_exhibit, eigenvalue_exhibit, line_exhibit, training_exhibit
from thalweg.report.exhibit import Exhibit
from thalweg.report.maps import map_exhibit


@dataclass
class Exhibits:
    """The figures by section, and a sentence on each that could not be drawn."""

    maps: list[Exhibit] = field(default_factory=list[Exhibit])
    curves: list[Exhibit] = field(default_factory=list[Exhibit])
    curvature: list[Exhibit] = field(default_factory=list[Exhibit])
    failed: list[str] = field(default_factory=list[str])


def draw(data: dict[str, Any]) -> Exhibits:
    """Draw what `collect` gathered; what is damaged is left out and said so."""
    found = Exhibits()
    with plots.paper():
        for name, group, make in _wanted(data, found):
            try:
                group.append(make())
            # A run folder may hold what another program, or another version, put there.
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                found.failed.append(f"{name} could not be drawn: {error}")
    return found


def _wanted(
    data: dict[str, Any], found: Exhibits
) -> Iterator[tuple[str, list[Exhibit], Callable[[], Exhibit]]]:
    results = data["results"]
    target = results.get("target") or {}
    for described in data["slices"]:
        name = f"slice.{described['name']}"
        if len(described.get("axes", {})) == 2:
            yield name, found.maps, lambda d=described: map_exhibit(d, target.get("minima") or [])
    if rows := data["series"].get("training"):
        yield "training", found.curves, lambda: training_exhibit(rows, "epoch", "Training")
    elif losses := _descent(data):
        yield "descent", found.curves, lambda: training_exhibit(losses, "iteration", "Descent")
    for described in data["slices"]:
        if len(described.get("axes", {})) == 1:
            yield f"slice.{described['name']}", found.curves, lambda d=described: line_exhibit(d)
    if pairs := results.get("eigenpairs"):
        yield "eigenpairs", found.curvature, lambda: eigenvalue_exhibit(pairs, target.get("parameters"))
    if density := results.get("density"):
        known = (pairs or {}).get("values")
        yield "density", found.curvature, lambda: density_exhibit(density, known)


def _descent(data: dict[str, Any]) -> list[dict[str, float]]:
    losses = next((d["path_loss"] for d in data["slices"] if d.get("path_loss")), [])
    return [{"step": step, "loss": loss} for step, loss in enumerate(losses)]
