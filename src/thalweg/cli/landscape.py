"""`thalweg landscape`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.arguments import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    TrajectoryOption,
    use_threads,
)
from thalweg.cli.output import print_json
from thalweg.cli.picture import save
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named, whereabouts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.landscape import Slice
    from thalweg.surveys.landscape import LandscapeResult

PICTURE = "slice.png"


def landscape(
    target: TargetArgument,
    checkpoint: CheckpointOption = None,
    trajectory: TrajectoryOption = None,
    plane: Annotated[
        str | None,
        typer.Option(
            help="random, random-line, trajectory, trajectory-informed, eigen, gradient-eigen, gradient, or two or "
            "three checkpoints A,B,C; the trajectory's where one is given, a surface's own map, else random."
        ),
    ] = None,
    stack: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Slices along K random lines and their spread, in place of a plane.", min=2
        ),
    ] = None,
    normalization: Annotated[
        str, typer.Option(help="Of random directions: filter, layer, model or none.")
    ] = "filter",
    resolution: Annotated[int, typer.Option(help="Points along each axis.", min=3)] = 51,
    span: Annotated[float, typer.Option(help="Factor on the extent of the plane.")] = 1.0,
    rtol: Annotated[
        float, typer.Option(help="Relative error of the map; 0 evaluates every point.", min=0.0)
    ] = 0.01,
    metrics: Annotated[
        str,
        typer.Option(
            help="With commas between: loss, accuracy, gradient_norm, lambda_max, lambda_min, plane_lambda_max, "
            "plane_lambda_min."
        ),
    ] = "loss",
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/TARGET-landscape, or -stack, if not given.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Look at so many of the data only, drawn with --seed; all if not given.", min=1),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that evaluate points side by side, each with one thread.", min=1)
    ] = 1,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a slice of the landscape to a stated error, from as few evaluations as that takes, and say what it hides.

    Every point is kept as it is evaluated: the same command continues, also with another --resolution or --rtol.

    Examples:

        thalweg landscape digits --checkpoint runs/a

        thalweg landscape digits --trajectory runs/a --metrics loss,accuracy

        thalweg landscape digits --checkpoint runs/a --stack 10
    """
    use_threads(threads)
    from thalweg import surveys
    from thalweg.cli.line_stack import show, stack_lines
    from thalweg.surveys.landscape import choose_plane, on_sample, slice_landscape

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    folder = (
        out or Path("runs") / f"{surveys.folder_name(target)}-{'landscape' if stack is None else 'stack'}"
    )
    if stack is not None:
        with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
            subject = subject_named(target, assignments, seed, checkpoint, trajectory)
            if samples is not None:
                subject = on_sample(subject, samples, seed)
            progress.stage("evaluating the slices")
            lines = stack_lines(
                subject,
                stack,
                folder,
                plane=plane,
                normalization=normalization,
                resolution=resolution,
                span=span,
                rtol=rtol,
                metrics=names,
                seed=seed,
                workers=workers,
                advance=progress.advance,
            )
        source = whereabouts(subject, checkpoint or trajectory, seed)
        show(lines, target, source, folder, json=json)
        return
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        subject = subject_named(target, assignments, seed, checkpoint, trajectory)
        if samples is not None:
            subject = on_sample(subject, samples, seed)
        progress.stage("choosing the plane")
        chosen = choose_plane(subject, plane, normalization=normalization, seed=seed)
        progress.stage("evaluating the slice")
        found = slice_landscape(
            subject,
            chosen,
            folder,
            resolution=resolution,
            span=span,
            rtol=rtol,
            metrics=names,
            seed=seed,
            workers=workers,
            advance=progress.advance,
        )
    source = whereabouts(subject, checkpoint or trajectory, seed)
    picture = folder / PICTURE
    save(_figure(found.slice, f"{target} at {source}"), picture)
    dataset = folder / "slice.nc"
    found.slice.dataset.to_netcdf(dataset, engine="h5netcdf")
    told = _told(found)
    if json:
        print_json(
            {
                "target": target,
                "source": source,
                "kind": chosen.kind,
                "error": found.slice.error,
                "evaluations": found.slice.evaluations,
                "axes": {name: axis.tolist() for name, axis in found.slice.axes.items()},
                "values": {name: values.tolist() for name, values in found.slice.values.items()},
                "attributes": found.slice.attributes(),
                "caption": list(found.slice.caption),
                "honesty": list(found.honesty.sentences),
                "run": str(folder),
                "picture": str(picture),
                "dataset": str(dataset),
            }
        )
        return
    print(f"{target}, {subject.objective.size:,} parameters, at {source}\n{told}\n")
    for sentence in (*found.slice.caption, *found.honesty.sentences):
        print(f"  • {sentence}")
    print(f"\nRun: {folder}\nPicture: {picture}\nData: {dataset}")


def _told(found: LandscapeResult) -> str:
    points = 1
    for axis in found.slice.axes.values():
        points *= len(axis)
    error = f"to {100 * found.slice.error:.2g} %" if found.slice.error else "exactly"
    return f"{points:,} points, known {error} from {found.slice.evaluations:,} evaluations now"


def _figure(found: Slice, title: str) -> Figure:
    from matplotlib.figure import Figure

    from thalweg import plots

    names = list(found.values)
    axes = list(found.axes.values())
    with plots.paper():
        figure = Figure(figsize=(5.2 * len(names), 4.6), layout="constrained")
        figure.suptitle(title)
        for i, name in enumerate(names):
            ax = figure.add_subplot(1, len(names), i + 1)
            if len(axes) == 1:
                plots.line_slice(axes[0], found.values[name], None, ax, label=found.plane.labels[0])
                ax.set_ylabel(name)
                continue
            path = None if found.plane.kind == "through points" else found.plane.path
            labels = (found.plane.labels[0], found.plane.labels[1])
            plots.contours(axes[0], axes[1], found.values[name], ax, name=name, labels=labels, path=path)
        plots.caption(figure, [*found.caption, *found.limits])
    return figure
