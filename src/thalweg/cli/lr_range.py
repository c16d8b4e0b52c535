"""`thalweg lr-range`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.arguments import (
    BatchOption,
    JsonOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import checked_picture, save
from thalweg.cli.problem_target import ProblemArgument, problem_named
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.numbers import number


def lr_range(
    problem: ProblemArgument,
    optimizer: Annotated[str, typer.Option(help="An optimizer's name, such as sgd, adamw, lion.")] = "adamw",
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-7,
    high: Annotated[float, typer.Option(help="The last rate.")] = 10.0,
    steps: Annotated[
        int, typer.Option(help="Steps, each at a rate larger by the same factor.", min=20)
    ] = 200,
    batch_size: BatchOption = None,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture: .png, .svg or .pdf; runs/PROBLEM-lr-range.png if not given.")
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Find a learning rate by one short run in which it grows until training blows up (Smith 2017).

    Example: thalweg lr-range digits --optimizer adamw
    """
    use_threads(threads)
    target = problem_named(problem, assignments, optimizer)
    from thalweg import plots, surveys
    from thalweg.comparison import range_test

    file = checked_picture(out, f"{surveys.folder_name(target.name)}-lr-range")
    with optimizers_without_compiler():
        found = range_test(
            target, optimizer, low=low, high=high, steps=steps, batch_size=batch_size, seed=seed
        )
    marks = {"suggested": found.suggestion, "blows up": found.blow_up}
    with plots.paper():
        axes = plots.range_test(found.rates, found.losses, found.smoothed, marks=marks)
        axes.set_title(f"{target.name}, {found.optimizer}")
        save(axes.get_figure(root=True), file)  # pyright: ignore[reportArgumentType] - Axes in a figure
    if json:
        from dataclasses import asdict

        print_json(asdict(found) | {"target": target.name, "picture": str(file)})
        return
    shown = {
        "loss lowest": found.lowest,
        "falls fastest": found.steepest,
        "blows up": found.blow_up,
        "suggestion": found.suggestion,
    }
    print_table(
        (f"{target.name}, {found.optimizer}", "rate"),
        [(name, "none" if rate is None else number(rate, 2)) for name, rate in shown.items()],
    )
    print(f"\n{found.reason}\n\nPicture: {file}")
