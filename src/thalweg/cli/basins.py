"""`thalweg basins`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import JsonOption, SetOption, ThreadsOption, use_threads
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import checked_picture, save
from thalweg.cli.rates import AUTO, GRID, given_rates
from thalweg.cli.surface_target import SurfaceArgument, described, surface_named
from thalweg.errors import InvalidArgument
from thalweg.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.optim.basins import Basins
    from thalweg.surfaces import Surface

_COARSE = 16
_MOST_ROWS = 20


def basins(
    surface: SurfaceArgument,
    optimizer: Annotated[
        str, typer.Option(help="An optimizer's name (thalweg optimizers).")
    ] = "gradient_descent",
    lr: Annotated[
        str,
        typer.Option("--lr", help="A number, or auto: the rate at which most starts settle in a minimum."),
    ] = AUTO,
    steps: Annotated[int, typer.Option(help="Steps from every start.", min=1)] = 300,
    resolution: Annotated[int, typer.Option(help="Starts along each axis.")] = 512,
    assignments: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture: .png, .svg or .pdf; runs/basins-SURFACE-OPTIMIZER.png if not given."),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Map which minimum every start on a surface of two coordinates leads to.

    Example: thalweg basins himmelblau --optimizer adam --lr 0.05
    """
    use_threads(threads)
    rates = given_rates(lr)
    if rates is not None and len(rates) != 1:
        raise InvalidArgument(f"--lr must be one number or auto, got {lr!r}")
    found = surface_named(surface, assignments)
    file = checked_picture(out, f"basins-{found.name}-{optimizer}")
    from thalweg.optim.basins import basins as mapped

    rate = _best_rate(found, optimizer, steps) if rates is None else rates[0]
    map_ = mapped(found, optimizer, lr=rate, steps=steps, resolution=resolution)
    from thalweg import plots

    with plots.paper():
        save(_figure(map_, found, described(found, assignments)), file)
    rows = _rows(map_)
    if json:
        print_json(
            {"surface": found.name, "parameters": found.parameters, "optimizer": map_.optimizer, "lr": rate}
            | {"lr_chosen": rates is None, "steps": steps, "resolution": resolution}
            | {"basins": rows, "picture": str(file)}
        )
        return
    print(f"{map_.optimizer} at {number(rate)}, {steps} steps from {resolution} × {resolution} starts")
    print_table(
        ("leads to", "loss", "share"),
        [
            (
                row["to"].replace("-", "−"),
                "" if row["loss"] is None else number(row["loss"]),
                f"{100 * row['share']:.2f} %",
            )
            for row in rows[:_MOST_ROWS]
        ],
    )
    if rows[_MOST_ROWS:]:
        rest = rows[_MOST_ROWS:]
        print(
            f"and {len(rest)} others with {100 * sum(row['share'] for row in rest):.2f} % together (--json lists them)"
        )
    if rates is None:
        print(
            f"\nThe rate was chosen: of {len(GRID)} from {number(GRID[0])} to {number(GRID[-1])} the one at which most "
            f"of {_COARSE} × {_COARSE} starts settle in a minimum."
        )
    print(f"\nPicture: {file}")


def _best_rate(surface: Surface, optimizer: str, steps: int) -> float:
    """The rate of the grid at which most starts of a coarse one settle; among equals, that of the lowest mean loss."""
    import numpy as np
    import torch

    from thalweg.optim.descent import descend
    from thalweg.optim.outcomes import KINDS

    if surface.size != 2:
        raise InvalidArgument(f"basins need a surface of two coordinates, {surface.name} has {surface.size}")
    axes = [torch.linspace(low, high, _COARSE, dtype=surface.dtype) for low, high in surface.domain.tolist()]
    starts = torch.cartesian_prod(*axes)
    tried = descend(
        surface, optimizer, starts, lr=GRID, steps=steps, keep="last", tolerance=1e-2, follow=False
    )
    settled = (tried.outcome.kind == KINDS.index("converged")).sum(axis=1)
    final = tried.loss[..., -1].cpu().numpy()
    loss = np.where(np.isfinite(final), final, np.inf).mean(axis=1)
    return GRID[int(np.lexsort((loss, -settled))[0])]


def _figure(map_: Basins, surface: Surface, title: str) -> Figure:
    import torch
    from matplotlib.figure import Figure

    from thalweg import plots

    figure = Figure(figsize=(5.8, 6.2), layout="constrained")
    across, up = map_.x.double(), map_.y.double()
    points = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1)
    values = surface.losses(points.reshape(-1, 2)).view(len(up), len(across))
    ax = plots.basins(
        across,
        up,
        map_.label,
        [target.location for target in map_.targets],
        [str(target).replace("-", "−") for target in map_.targets],
        figure.add_subplot(),
        values=values,
    )
    ax.set_title(f"{title}: {map_.optimizer}, η = {number(map_.lr, 3)}, {map_.steps} steps")
    return figure


def _rows(map_: Basins) -> list[dict[str, Any]]:
    """The share of every target reached, and of the starts that reached none, largest first."""
    losses = {str(target): target.loss for target in map_.targets}
    return [{"to": name, "loss": losses.get(name), "share": share} for name, share in map_.shares().items()]
