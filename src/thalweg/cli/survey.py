"""`thalweg survey`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import (
    BatchOption,
    CheckpointOption,
    DecayOption,
    EpochsOption,
    JsonOption,
    MomentumOption,
    OptimizerOption,
    QuietOption,
    RateOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    command_line,
    parameters,
    training,
    use_threads,
)
from thalweg.cli.output import print_json
from thalweg.cli.plan import print_plan
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.errors import RunConflict

if TYPE_CHECKING:
    from thalweg.surveys import SurveyResult


def survey(
    target: TargetArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/TARGET if not given.")] = None,
    checkpoint: CheckpointOption = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints of a training run, for the plane of its path.")
    ] = None,
    seed: SeedOption = 0,
    resolution: Annotated[
        int | None,
        typer.Option(help="Points along each axis of a plane; 41, or 101 on a surface, if not given."),
    ] = None,
    span: Annotated[float, typer.Option(help="Factor on the extent of every slice.")] = 1.0,
    rtol: Annotated[
        float, typer.Option(help="Relative error of a plane's points; 0 evaluates every one.", min=0.0)
    ] = 0.01,
    k: Annotated[int, typer.Option("-k", help="Eigenpairs, half from each end of the spectrum.")] = 10,
    normalization: Annotated[
        str, typer.Option(help="Of random directions: filter, layer, model or none.")
    ] = "filter",
    probes: Annotated[int, typer.Option(help="Random vectors for the spectral density.")] = 8,
    optimizer: OptimizerOption = None,
    lr: RateOption = None,
    momentum: MomentumOption = None,
    weight_decay: DecayOption = None,
    batch_size: BatchOption = None,
    epochs: EpochsOption = None,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    resume: Annotated[
        bool, typer.Option(help="Continue the run that the folder holds, or refuse to.")
    ] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what will be evaluated, how long it takes, and stop.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Survey a model or surface: train or load it, measure its curvature, draw its landscape, write a report.

    Everything goes to one run folder as it is found. Interrupt it at any moment: the same command continues.

    Examples:

        thalweg survey digits

        thalweg survey rosenbrock --out runs/valley

        thalweg survey my_model.py:make --checkpoint model.safetensors --trajectory checkpoints/
    """
    use_threads(threads)
    from thalweg import surveys
    from thalweg.report.surveyed import survey as survey_and_report

    found_target = surveys.resolve(target, **parameters(assignments))
    chosen = training(
        found_target,
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        batch_size=batch_size,
        epochs=epochs,
    )
    settings = surveys.Settings(
        seed=seed,
        resolution=resolution,
        span=span,
        rtol=rtol,
        k=k,
        normalization=normalization,
        probes=probes,
    )
    if plan:
        subject = surveys.make_subject(
            found_target, seed=seed, training=chosen, checkpoint=checkpoint, trajectory=trajectory
        )
        print_plan(surveys.plan(subject, settings), json)
        return
    folder = out or Path("runs") / surveys.folder_name(found_target.name)
    if not resume and (folder / "run.sqlite").exists():
        raise RunConflict(
            f"{folder} holds a run: give another --out, delete the folder, or leave out --no-resume"
        )
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        found = survey_and_report(
            found_target,
            folder,
            settings=settings,
            training=chosen,
            checkpoint=checkpoint,
            trajectory=trajectory,
            progress=progress,
            command=command_line(),
        )
    page = found.path / "report.html"
    if json:
        print_json(found.results | {"run": str(found.path), "report": str(page)})
    else:
        _print_findings(found, page)


def _print_findings(found: SurveyResult, page: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    # In a pipe lines are not broken: what reads them does that better.
    console = Console(soft_wrap=not sys.stdout.isatty())
    verdict: Any = found.results["verdict"]
    console.print(Text(verdict["sentence"], style="bold"))
    for finding in verdict["findings"]:
        console.print(Text(f"  • {finding}"))
    print(f"\nReport: {page}")
