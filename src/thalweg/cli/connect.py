"""`thalweg connect`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import (
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import checked_picture, save
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.landscape import Path as LossPath
    from thalweg.objective import Objective


class Aligned(StrEnum):
    """What the units of b are matched to those of a by."""

    weights = "weights"
    activations = "activations"


class Curve(StrEnum):
    """The path that is bent."""

    bezier = "bezier"
    polygon = "polygon"
    none = "none"


def connect(
    target: TargetArgument,
    a: Annotated[Path, typer.Argument(metavar="A", help="Weights, or a folder that was trained into.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same of another model.")],
    align: Annotated[
        Aligned | None,
        typer.Option(help="Also connect after the units of B were permuted to match those of A."),
    ] = None,
    curve: Annotated[Curve, typer.Option(help="Bend a path of low loss.")] = Curve.bezier,
    bends: Annotated[int, typer.Option(help="Control points between the ends.", min=1)] = 1,
    steps: Annotated[int, typer.Option(help="Gradients that bending takes.", min=1)] = 1000,
    optimizer: Annotated[
        str, typer.Option(help="What bends the path: any of thalweg optimizers, at --lr.")
    ] = "adam",
    lr: Annotated[
        float | None,
        typer.Option(help="Its rate; a tenth of the distance of A and B for Adam, if not given."),
    ] = None,
    points: Annotated[
        int,
        typer.Option(
            help="Points that are evaluated evenly along each path; more are around the highest of them.",
            min=3,
        ),
    ] = 25,
    out: Annotated[
        Path | None, typer.Option(help="Picture: .png, .svg or .pdf; runs/TARGET-connect.png if not given.")
    ] = None,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Connect two trained models: the barrier on the straight line, and on a path that is bent around it.

    The barrier is how far the loss on the training data rises above the line between the losses at the ends, ± its
    standard error; around the highest of --points more are evaluated, to place the top to a thousandth of the way.
    Batch-norm statistics are estimated anew at every point.

    Example:

        thalweg connect digits runs/a runs/b --align weights
    """
    use_threads(threads)
    from thalweg import landscape, surveys
    from thalweg.objective import Objective

    made = surveys.path_optimizer(optimizer, lr)
    file = checked_picture(out, f"{surveys.folder_name(target)}-connect")
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        progress.stage("reading the models")
        try:
            subject = subject_named(target, assignments, seed, b)
        except InvalidArgument as error:
            raise InvalidArgument(str(error).replace(f"checkpoint {b}", f"B, checkpoint {b}", 1)) from error
        if not isinstance(subject.objective, Objective):
            raise InvalidArgument(f"{target} is a surface and has no models to connect")
        objective = subject.objective
        own = objective.model.state_dict()
        first, second = (surveys.Checkpoints.of(place, own)[-1] for place in (a, b))
        surveys.check_fit(objective, first, f"A, checkpoint {a}")
        found: dict[str, LossPath] = {}
        progress.stage("straight line")
        found["straight line"] = landscape.interpolate(objective, first, second, points=points)
        if align is not None:
            progress.stage("matching units")
            second = surveys.aligned_state(subject, first, second, align.value, seed=seed)
            progress.stage("straight line after matching")
            name = f"straight line, {align.value} matched"
            found[name] = landscape.interpolate(objective, first, second, points=points)
        if curve is not Curve.none:
            progress.stage(f"bending a {curve.value} path")
            name = "Bezier curve" if curve is Curve.bezier else "polygon"
            found[name if align is None else f"{name}, {align.value} matched"] = landscape.curved_path(
                objective,
                first,
                second,
                curve.value,
                bends=bends,
                steps=steps,
                optimizer=made,
                points=points,
                seed=seed,
                progress=progress.advance,
            )
    save(_figure(found, target, _told(found, a, b, objective)), file)
    if json:
        print_json(
            {"target": target, "paths": [_as_json(*item) for item in found.items()], "picture": str(file)}
        )
        return
    rows = [
        (
            name,
            with_error(path.barrier, path.error),
            number(path.height, 3),
            number(path.length, 3),
            str(path.evaluations),
            str(path.gradients),
        )
        for name, path in found.items()
    ]
    columns = ("path", "barrier", "above the higher end", "length", "points", "gradients")
    print_table(columns, rows)
    line = found["straight line"]
    print(f"\nLosses at the ends: {number(float(line.losses[0]))}, {number(float(line.losses[-1]))}")
    if line.batchnorm:
        print(f"Batch-norm: {line.batchnorm}")
    print(f"\nPicture: {file}")


def _told(found: dict[str, LossPath], a: Path, b: Path, objective: Objective) -> list[str]:
    """What the picture rests on: the ends, the data, the barriers and what was not looked at."""
    line = found["straight line"]
    norm = f", batch-norm with {line.batchnorm}" if line.batchnorm else ""
    barriers = ", ".join(f"{with_error(path.barrier, path.error)} ({name})" for name, path in found.items())
    limits = dict.fromkeys(limit for path in found.values() for limit in path.limits)
    return [
        f"A: {a}. B: {b}. Evaluated on all {objective.samples:,} samples{norm}.",
        f"Barriers: {barriers}.",
        *limits,
    ]


def _figure(found: dict[str, LossPath], target: str, told: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    from thalweg import plots

    with plots.paper():
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        ax = figure.add_subplot()
        plots.paths({name: (path.t, path.losses) for name, path in found.items()}, ax, ends=("A", "B"))
        ax.set_title(target)
        plots.caption(figure, told)
    return figure


def _as_json(name: str, path: LossPath) -> dict[str, Any]:
    return {
        "path": name,
        "kind": path.kind,
        "barrier": path.barrier,
        "error": path.error,
        "at": path.at,
        "height": path.height,
        "length": path.length,
        "evaluations": path.evaluations,
        "gradients": path.gradients,
        "batchnorm": path.batchnorm,
        "limits": list(path.limits),
        "t": path.t.tolist(),
        "loss": path.losses.tolist(),
    }
