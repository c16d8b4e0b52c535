"""`thalweg curvature`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.along_run import folder_along, tell
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
from thalweg.cli.picture import FORMATS, checked_picture, panels, save
from thalweg.cli.plan import print_plan
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named, whereabouts
from thalweg.errors import InvalidArgument, ThalwegError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.surveys.curvature import Measured

_NEAR = 0.5
ALONG_A_RUN = ("eigenpairs", "trace")
"""What is measured at each checkpoint unless it is named."""


def curvature(
    target: TargetArgument,
    checkpoint: CheckpointOption = None,
    trajectory: TrajectoryOption = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="With commas between: eigenpairs, kind, trace, density, sharpness, noise, blocks, stability; "
            "all but the last if not given, along a --trajectory eigenpairs and trace."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Eigenpairs, half from each end of the spectrum.")] = 10,
    probes: Annotated[int, typer.Option(help="Random vectors for the spectral density.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Picture of spectrum and density: .png, .svg or .pdf; none if not given. Along a --trajectory the "
            "run folder, runs/RUN-curvature if not given."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what will be evaluated, how long it takes, and stop.")
    ] = False,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the Hessian of a model or surface, each number with its error, at a point or along a training run.

    A problem's model is taken at its initialization from --seed unless --checkpoint says otherwise, a file's as its
    factory returns it, a surface at its start. Along a run everything is kept: the same command continues.

    Examples:

        thalweg curvature digits --checkpoint runs/digits-training

        thalweg curvature digits --trajectory runs/digits-training

        thalweg curvature rosenbrock --measure eigenpairs,kind
    """
    use_threads(threads)
    file = None if out is None or trajectory is not None else checked_picture(out, "")
    if out is not None and trajectory is not None and out.suffix in FORMATS:
        raise InvalidArgument(
            f"--out is the run folder along a --trajectory, the picture is drawn there, got {out}"
        )
    from thalweg import surveys
    from thalweg.surveys import curvature as measuring

    names = None if measure is None else tuple(name.strip() for name in measure.split(",") if name.strip())
    if names is None and trajectory is not None:
        names = ALONG_A_RUN
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        subject = subject_named(target, assignments, seed, checkpoint, trajectory)
        objective = subject.objective
        training = surveys.training_in(trajectory or checkpoint)
        chosen = measuring.chosen(objective, names, training)
        options: dict[str, Any] = {"k": k, "probes": probes, "seed": seed, "training": training}
        if plan:
            count = 1 if subject.checkpoints is None else len(subject.checkpoints)
            print_plan(surveys.plan_of_measures(objective, chosen, k, probes, count), json)
            return
        if subject.checkpoints is not None:
            folder = out or folder_along(trajectory, "curvature")
            track = surveys.track(
                objective, subject.checkpoints, folder, chosen, progress=progress, **options
            )
            tell(track, f"{target}, along {trajectory}", surveys.limits_of(training), json)
            return
        measured: dict[str, Measured] = {}
        failed: dict[str, ThalwegError] = {}
        with measuring.looking(objective, **options) as look:
            for name in chosen:
                progress.stage(name)
                try:
                    measured[name] = look.measure(name)
                except ThalwegError as error:
                    failed[name] = error
    if not measured:
        raise next(iter(failed.values()))
    source = whereabouts(subject, checkpoint, seed)
    if file is not None:
        save(_figure(measured, objective.size, f"{target} at {source}"), file)
    if json:
        picture = {} if file is None else {"picture": str(file)}
        numbers = {name: one.numbers for name, one in measured.items()}
        errors = {name: {"error": str(error)} for name, error in failed.items()}
        print_json({"target": target, "source": source} | picture | numbers | errors)
        return
    print(f"{target}, {objective.size:,} parameters, at {source}, loss {float(objective.loss()):.4g}")
    for name, one in measured.items():
        print(f"\n{name}")
        for line in one.lines:
            print(f"  {line}")
    for name, error in failed.items():
        print(f"\n{name} cannot be measured: {error}")
    if file is not None:
        print(f"\nPicture: {file}")


def _figure(measured: Mapping[str, Measured], size: int, title: str) -> Figure:
    """Eigenvalues and density beside each other, or the one that was measured."""
    from thalweg import plots

    drawn = [name for name in ("eigenpairs", "density") if name in measured]
    if not drawn:
        raise InvalidArgument("--out draws eigenpairs and density: name one of them with --measure")
    with plots.paper():
        figure, axes = panels(len(drawn), title, (5.0, 4.2))
        values: list[float] | None = None
        for ax, name in zip(axes, drawn, strict=True):
            found = measured[name].numbers
            if name == "eigenpairs":
                values = found["values"]
                plots.eigenvalues(found["values"], found["residuals"], found["converged"], ax, size=size)
            else:
                # A law that is nothing like the spectrum would only be a riddle.
                near = [one for one in found["references"] if one["distance"] < _NEAR]
                references = {one["told"]: one["density"] for one in near}
                plots.spectral_density(
                    found["grid"],
                    found["density"],
                    found["stderr"],
                    values,
                    ax,
                    width=found["width"],
                    size=size,
                    references=references,
                )
    return figure
