"""`thalweg critical-points`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import (
    CheckpointOption,
    JsonOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import checked_picture, save
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named
from thalweg.errors import InvalidArgument
from thalweg.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.curvature import CriticalPoints, IndexAgainstLoss
    from thalweg.objective import AbstractObjective

_MOST_ROWS, _MOST_COORDINATES = 30, 3
_RESOLUTION = 201


def critical_points(
    target: TargetArgument,
    starts: Annotated[int, typer.Option(help="How many points to start from.", min=1)] = 64,
    box: Annotated[
        str | None, typer.Option(help="LOW,HIGH of every coordinate; a surface's domain if not given.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="newton (saddle-free, to any index) or gradient-norm.")
    ] = "newton",
    checkpoint: CheckpointOption = None,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture: .png, .svg or .pdf; runs/TARGET-critical-points.png if not given."),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Search minima, saddles and maxima of any height, and show how the index goes with the loss.

    Points at which the gradient's norm is smallest but not zero are told apart and rejected. Of a model the starts lie
    around its weights; up to some hundred parameters the search takes seconds.

    Examples:

        thalweg critical-points himmelblau

        thalweg critical-points my_model.py:make --starts 200
    """
    use_threads(threads)
    from thalweg import curvature, surveys

    file = checked_picture(out, f"{surveys.folder_name(target)}-critical-points")
    limits = _box(box)
    with optimizers_without_compiler():
        subject = subject_named(target, assignments, seed, checkpoint)
        found = curvature.critical_points(
            subject.objective,
            starts,
            box=limits,
            method=method,  # pyright: ignore[reportArgumentType] - checked there
            seed=seed,
        )
    trend = curvature.index_against_loss(found)
    save(_figure(subject.objective, found), file)
    if json:
        print_json({"target": target} | _as_json(found, trend) | {"picture": str(file)})
        return
    print(f"{target}: {found}\n")
    columns = ["loss", "kind", "index", "gradient norm", "starts that led there"]
    rows = [
        [number(loss, 5), kind.kind, str(kind.index), number(norm, 2), str(hits)]
        for loss, kind, norm, hits in zip(
            _without_rounding(found.losses.tolist()),
            found.kinds,
            found.gradient_norms.tolist(),
            found.hits.tolist(),
            strict=True,
        )
    ]
    if subject.objective.size <= _MOST_COORDINATES:
        columns.append("at")
        for row, point in zip(rows, found.points.tolist(), strict=True):
            row.append(f"({', '.join(number(x, 4) for x in _without_rounding(point))})")
    print_table(columns, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        print(f"and {len(rows) - _MOST_ROWS} more")
    print(f"\n{trend}\n\nPicture: {file}")


def _without_rounding(values: list[float]) -> list[float]:
    """Values of which those are 0 that beside the largest are nothing but rounding."""
    least = 1e-14 * max(map(abs, values), default=0.0)
    return [value if abs(value) > least else 0.0 for value in values]


def _box(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidArgument(f"--box takes LOW,HIGH, got {text!r}") from error
    return low, high


def _as_json(found: CriticalPoints, trend: IndexAgainstLoss) -> dict[str, Any]:
    points = [
        {"point": point, "loss": loss, "gradient_norm": norm, "location_error": error, "hits": hits}
        | asdict(kind)
        for point, loss, norm, error, hits, kind in zip(
            found.points.tolist(),
            found.losses.tolist(),
            found.gradient_norms.tolist(),
            found.location_errors.tolist(),
            found.hits.tolist(),
            found.kinds,
            strict=True,
        )
    ]
    correlation = {"spearman": trend.correlation, "low": trend.low, "high": trend.high, "level": trend.level}
    return {
        "points": points,
        "starts": found.starts,
        "failures": found.failures,
        "known": found.known,
        "complete": found.complete,
        "chance_of_another": found.chance_of_another,
        "index_against_loss": correlation,
    }


def _figure(objective: AbstractObjective, found: CriticalPoints) -> Figure:
    """Index against loss, beside the map of a two-dimensional surface."""
    import torch
    from matplotlib.figure import Figure

    from thalweg import plots
    from thalweg.surfaces import Surface

    kinds = [kind.kind for kind in found.kinds]
    surface = objective if isinstance(objective, Surface) and objective.size == 2 else None
    flat = surface is not None
    with plots.paper():
        figure = Figure(figsize=(9.4, 4.2) if flat else (5.1, 4.2), layout="constrained")
        if surface is not None:
            reach = torch.cat([surface.domain.T, found.points])
            x, y = (
                torch.linspace(low, high, _RESOLUTION, dtype=surface.dtype)
                for low, high in torch.stack([reach.amin(0), reach.amax(0)], -1).tolist()
            )
            values = surface.losses(torch.cartesian_prod(x, y)).view(len(x), len(y))
            plots.critical_map(x, y, values, found.points, kinds, figure.add_subplot(1, 2, 1))
        ax = figure.add_subplot(1, 1 + flat, 1 + flat)
        plots.index_against_loss(found.losses, found.index_fraction, kinds, ax)
    return figure
