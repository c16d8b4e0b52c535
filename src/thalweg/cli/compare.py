"""`thalweg compare`."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import (
    BatchOption,
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    command_line,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import save
from thalweg.cli.problem_target import ProblemArgument, problem_named
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.numbers import number, with_error

if TYPE_CHECKING:
    from thalweg.comparison import Comparison, Entry, Estimate

PICTURE = "comparison.png"


class Tuner(StrEnum):
    """What proposes the rates to try."""

    grid = "grid"
    optuna = "optuna"


class Quantity(StrEnum):
    """What is compared."""

    test_loss = "test-loss"
    test_accuracy = "test-accuracy"
    train_loss = "train-loss"
    train_accuracy = "train-accuracy"


def compare(
    problem: ProblemArgument,
    optimizers: Annotated[
        str,
        typer.Option(help='Names with commas between, also "adamw(weight_decay=0.1)" and "sam(momentum)".'),
    ] = "sgd,adamw,lion",
    budget: Annotated[
        int | None,
        typer.Option(help="Gradient evaluations of each race; the problem's epochs if not given.", min=1),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Races of each optimizer.", min=1)] = 3,
    tune: Annotated[
        int,
        typer.Option(help="Trials of the learning rate for each optimizer; 0 takes default rates.", min=0),
    ] = 12,
    tuning_budget: Annotated[
        int | None,
        typer.Option(help="Gradient evaluations of each trial; half the budget if not given.", min=1),
    ] = None,
    tuner: Annotated[
        Tuner, typer.Option(help="grid: half decades around the default, growing; optuna: its own sampler.")
    ] = Tuner.grid,
    schedule: Annotated[
        str | None, typer.Option(help="cosine or linear, over each race and trial; constant if not given.")
    ] = None,
    metric: Annotated[
        Quantity | None, typer.Option(help="What is tuned for and compared; the test loss if not given.")
    ] = None,
    batch_size: BatchOption = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/PROBLEM-compare if not given.")] = None,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare optimizers fairly: each one's rate tuned with as many trials, then raced on the same budget and seeds.

    Budgets count gradient evaluations, of which a step of SAM takes two. Rates are tuned on held-out training data
    with a seed of their own; test data are looked at in the races only. Interrupt it at any moment: the same command
    continues.

    Examples:

        thalweg compare digits --optimizers sgd,adamw,lion,schedule_free_adamw --seeds 3 --out runs/compare

        thalweg compare my_model.py:make --optimizers "adamw, sam(momentum)" --schedule cosine
    """
    use_threads(threads)
    target = problem_named(problem, assignments, optimizers)
    from thalweg import comparison, plots

    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        found = comparison.compare(
            target,
            optimizers,
            budget=budget,
            seeds=seeds,
            tune=tune,
            tuning_budget=tuning_budget,
            tuner=tuner.value,
            schedule=schedule,
            metric=None if metric is None else metric.value.replace("-", " "),  # pyright: ignore[reportArgumentType]
            batch_size=batch_size,
            seed=seed,
            out=out,
            progress=progress,
            command=command_line(),
        )
    picture = found.path / PICTURE
    with plots.paper():
        save(plots.comparison(found), picture)
    if json:
        print_json(_as_json(found) | {"picture": str(picture)})
        return
    _print(found)
    print(f"\nRun: {found.path}\nPicture: {picture}")


def _as_json(found: Comparison) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"path": str(found.path), "table": found.table}


def _print(found: Comparison) -> None:
    first, *_ = found.entries
    split = found.metric.split()[0]
    # The metric, the other quantity on the same data, and the training loss: what fits on a line.
    shown = [found.metric, *(name for name in first.final if name.startswith(split) and name != found.metric)]
    shown += ["train loss"] if split == "test" else []
    print(
        f"{found.problem}: {len(found.entries)} optimizers, {found.budget} gradient evaluations from "
        f"{'1 seed' if len(found.seeds) == 1 else f'each of {len(found.seeds)} seeds'}, ranked by {found.metric}\n"
    )
    print_table(
        ("", "rate", *shown),
        [
            (entry.optimizer, number(entry.rate, 2), *(_estimate(entry.final[name]) for name in shown))
            for entry in found.entries
        ],
    )
    print()
    print_table(
        ("", "steps", "epochs", "to target", "ms/step", "B/param", "diverged"),
        [_costs(entry, len(found.seeds)) for entry in found.entries],
    )
    print(
        f"\nTarget: {number(found.goal_loss, 3)}, the lowest {found.metric.split()[0]} loss that every race came to; "
        "in gradient evaluations.\n"
    )
    for sentence in (*found.sentences, *found.notes):
        print(sentence)


def _costs(entry: Entry, seeds: int) -> tuple[str, ...]:
    goal = entry.goal
    to_goal = "never" if not goal.reached else number(round(goal.evaluations.mean))
    if 0 < goal.reached < seeds:
        to_goal += f" ({goal.reached} of {seeds})"
    return (
        entry.optimizer,
        number(entry.steps),
        number(entry.epochs, 3),
        to_goal,
        number(1000 * entry.seconds_per_step, 2),
        number(entry.state_bytes, 3),
        f"{entry.diverged} of {seeds}",
    )


def _estimate(value: Estimate) -> str:
    if math.isnan(value.mean):
        return "diverged"
    return number(value.mean, 3) if math.isnan(value.low) else with_error(value.mean, value.half_width)
