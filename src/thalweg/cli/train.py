"""`thalweg train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

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
    TargetArgument,
    ThreadsOption,
    parameters,
    training,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.progress import TerminalProgress


def train(
    target: TargetArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/TARGET-training if not given.")] = None,
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

    The folder can be surveyed: thalweg survey TARGET --checkpoint RUN --trajectory RUN.

    Example: thalweg train digits --optimizer sgd --lr 0.1 --epochs 20 --out runs/a
    """
    use_threads(threads)
    from thalweg import surveys

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
    with TerminalProgress(quiet=quiet) as progress:
        found = surveys.train_into(
            found_target,
            out,
            training=chosen,
            seed=seed,
            progress=progress,
            command=shlex.join(["thalweg", *sys.argv[1:]]),
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
