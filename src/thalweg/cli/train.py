"""`thalweg train`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli.arguments import (
    BatchOption,
    DecayOption,
    EpochsOption,
    JsonOption,
    MomentumOption,
    OptimizerOption,
    QuietOption,
    RateOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    command_line,
    training,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.problem_target import ProblemArgument, problem_named
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler


def train(
    problem: ProblemArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder; runs/PROBLEM-training, with the settings that are given, if not given."
        ),
    ] = None,
    optimizer: OptimizerOption = None,
    lr: RateOption = None,
    momentum: MomentumOption = None,
    weight_decay: DecayOption = None,
    batch_size: BatchOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a problem and keep its learning curves and the weights after each epoch in a run folder.

    The folder can be surveyed: thalweg survey PROBLEM --checkpoint RUN --trajectory RUN.

    Example: thalweg train digits --optimizer sgd --lr 0.1 --epochs 20 --out runs/a
    """
    use_threads(threads)
    target = problem_named(problem, assignments, optimizer)
    given = {
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "epochs": epochs,
    }
    chosen = training(target, **given)
    from thalweg import surveys

    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        found = surveys.train_into(
            target,
            out or _folder(target.name, assignments, given | {"seed": seed or None}),
            training=chosen,
            seed=seed,
            progress=progress,
            command=command_line(),
        )
    if json:
        print_json(found.results | {"run": str(found.path)})
        return
    how = found.results["training"]
    state = "diverged, the last finite weights are kept" if how["diverged"] else "done"
    print(f"{how['optimizer']} at {how['lr']:g}, {how['steps']} steps: {state}")
    rows = [
        (f"{split} {name}", f"{value['value']:.4f}", f"{value['stderr']:.4f}")
        for split, values in found.results["quality"].items()
        for name, value in values.items()
    ]
    print_table(("", "value", "± standard error"), rows)
    print(f"\nRun: {found.path}")


def _folder(name: str, assignments: list[str] | None, given: dict[str, Any]) -> Path:
    """A folder for each training, named by all that was set, so that none comes to lie in another's."""
    from thalweg.surveys import folder_name

    told = {key: value for key, value in given.items() if value is not None}
    words = [
        *(assignments or []),
        told.pop("optimizer", ""),
        *(f"{key}{value}" for key, value in told.items()),
    ]
    marks = [re.sub(r"[^\w.]+", "-", word).strip("-") for word in words if word]
    return Path("runs") / "-".join([folder_name(name), "training", *marks])
