"""`thalweg descend`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import JsonOption, SeedOption, SetOption
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import checked_picture, save
from thalweg.cli.rates import AUTO, GRID, SCHEDULES, Entry, best_rate, entries, kept, rate_schedule
from thalweg.cli.surface_target import SurfaceArgument, described, surface_named
from thalweg.errors import InvalidArgument
from thalweg.numbers import number

if TYPE_CHECKING:
    from thalweg.optim.descent import Descent
    from thalweg.surfaces import Surface

GAP = 1e-3


def descend(
    surface: SurfaceArgument,
    optimizers: Annotated[
        str, typer.Option(help="Names with commas between (thalweg optimizers); steepest_descent too.")
    ] = "gradient_descent,momentum,adam",
    lr: Annotated[
        str,
        typer.Option(
            "--lr",
            help="auto: two rates a decade are tried, and of those with which each optimizer ends at a minimum without "
            "leaving the surface's domain, or at least stays in it, the one with the lowest final loss is taken. Or a "
            "number for all; or numbers with commas between, one for each optimizer, or several for a single one.",
        ),
    ] = AUTO,
    start: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,…", help="Where to start; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of every optimizer.", min=1)] = 200,
    schedule: Annotated[
        str | None, typer.Option(help=f"How the rate changes over the steps: {', '.join(SCHEDULES)}.")
    ] = None,
    line_search: Annotated[
        str | None, typer.Option(help="Of steepest_descent: exact, armijo or wolfe.")
    ] = None,
    noise: Annotated[float, typer.Option(help="Standard deviation of noise on every gradient entry.")] = 0.0,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture: .png, .svg or .pdf; runs/descend-SURFACE.png if not given.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Descend a surface with several optimizers: their paths in one picture, how they did in one table.

    Examples:

        thalweg descend rosenbrock --optimizers sgd,momentum,nesterov,adam,lion --start -1.5,2

        thalweg descend parabolic_valley --optimizers gradient_descent --lr 0.1,0.6 --steps 20

        thalweg descend quadratic --set condition_number=100 --schedule cosine
    """
    found = surface_named(surface, assignments)
    file = checked_picture(out, f"descend-{found.name}")
    starts = _starts(start, found)
    lines = entries(optimizers, lr, line_search)
    runs = [_run(entry, found, starts, steps, schedule, noise, seed) for entry in lines]
    from thalweg import plots

    remarks = [
        f"{steps} steps",
        f"{schedule} schedule" if schedule else "",
        f"noise {noise:g}" if noise else "",
    ]
    title = ", ".join([described(found, assignments), *filter(None, remarks)])
    with plots.paper():
        save(plots.race(found, {run.label: run.descent for run in runs}, title), file)
    rows = [row for run in runs for row in _rows(run, found)]
    if json:
        print_json(
            {"surface": found.name, "parameters": found.parameters, "steps": steps, "schedule": schedule}
            | {"noise": noise, "seed": seed, "rates_tried": list(GRID) if lr == AUTO else None}
            | {"descents": rows, "picture": str(file)}
        )
        return
    _print(rows, several=len(starts or ()) > 1)
    if any(run.chosen for run in runs):
        print(
            f"\nRates were chosen from {len(GRID)} between {number(GRID[0])} and {number(GRID[-1])}: of those with "
            "which the optimizer ends at a minimum without leaving the surface's domain, or at least stays in it, the "
            "one with the lowest final loss."
        )
    if found.size > 2:
        print(f"\nThe picture shows losses alone: {found.name} has {found.size} coordinates.")
    print(f"\nPicture: {file}")


@dataclass(frozen=True)
class _Run:
    """An optimizer's descent from all starts, and whether its rate was chosen."""

    entry: Entry
    descent: Descent
    lr: float
    chosen: bool

    @property
    def label(self) -> str:
        """What the legend says."""
        if self.entry.line_search:
            return f"{self.entry.optimizer}, {self.entry.line_search} line search"
        return f"{self.entry.optimizer}, η = {number(self.lr, 3)}"


def _starts(texts: list[str] | None, surface: Surface) -> list[list[float]] | None:
    if not texts:
        return None
    found: list[list[float]] = []
    for text in texts:
        try:
            point = [float(part) for part in text.split(",")]
        except ValueError:
            point = []
        if len(point) != surface.size or not all(map(math.isfinite, point)):
            example = ",".join(f"{x:g}" for x in surface.point.tolist()[:4]) + (
                ",…" if surface.size > 4 else ""
            )
            raise InvalidArgument(
                f"--start must be {surface.size} numbers with commas between, such as {example}, got {text!r}"
            )
        found.append(point)
    return found


def _run(
    entry: Entry,
    surface: Surface,
    starts: list[list[float]] | None,
    steps: int,
    schedule: str | None,
    noise: float,
    seed: int,
) -> _Run:
    from thalweg.optim.descent import descend as descended

    shared: dict[str, Any] = {"steps": steps, "noise": noise, "seed": seed}
    if entry.line_search:
        found = descended(surface, entry.optimizer, starts, line_search=entry.line_search, **shared)
        return _Run(entry, found, math.nan, False)
    scheduled = rate_schedule(schedule, steps)
    rate, chosen = entry.lr, entry.lr is None
    if rate is None:
        tried = descended(
            surface,
            entry.optimizer,
            starts,
            lr=[scheduled(r) for r in GRID],
            keep=kept(steps),
            follow=False,
            **shared,
        )
        rate = best_rate(tried, GRID, surface.domain)
    return _Run(
        entry, descended(surface, entry.optimizer, starts, lr=scheduled(rate), **shared), rate, chosen
    )


def _rows(run: _Run, surface: Surface) -> list[dict[str, Any]]:
    """What is told of each start: numbers, None where there is none."""
    import torch

    minima = surface.minima
    lowest = surface.global_minimum
    if lowest is None and minima:
        lowest = min(point.value for point in minima)
    rows: list[dict[str, Any]] = []
    for path, loss, place in zip(
        run.descent.path, run.descent.loss, range(len(run.descent.path)), strict=True
    ):
        outcome = run.descent.outcome[(place,)]
        distances = [float((path[-1] - point.location).norm()) for point in minima]
        reached = None
        if lowest is not None:
            # Not the first step below: paths that swing through a minimum are not there yet.
            above = torch.nonzero(~(loss - lowest <= GAP * (loss[0] - lowest)))
            after = int(above[-1]) + 1 if len(above) else 0
            reached = after if after < len(loss) else None
        rows.append(
            {
                "optimizer": run.entry.optimizer,
                "lr": None if run.entry.line_search else run.lr,
                "lr_chosen": run.chosen,
                "line_search": run.entry.line_search or None,
                "start": path[0].tolist(),
                "end": path[-1].tolist(),
                "loss": float(loss[-1]),
                "distance": min(distances, default=None),
                "steps_to_a_thousandth": reached,
                "outcome": outcome.kind,
                "outcome_text": str(outcome),
            }
        )
    return rows


def _print(rows: Sequence[dict[str, Any]], *, several: bool) -> None:
    columns = ("optimizer", "rate", *(("start",) if several else ()), "loss", "distance", "steps", "ends")
    cells = [
        (
            row["optimizer"],
            row["line_search"] or number(row["lr"]),
            *([", ".join(f"{x:g}" for x in row["start"]).replace("-", "−")] if several else []),
            _short(row["loss"]),
            _short(row["distance"]),
            "—" if row["steps_to_a_thousandth"] is None else str(row["steps_to_a_thousandth"]),
            row["outcome_text"].removeprefix("converged to ").replace("-", "−"),
        )
        for row in rows
    ]
    print_table(columns, cells)
    print("\nloss: the last. distance: of the end from the nearest known minimum.")
    print("steps: until the loss stays below a thousandth of the first, counted from the lowest known.")


def _short(value: float | None) -> str:
    if value is None:
        return "—"
    return "NaN" if math.isnan(value) else number(value, 3)
