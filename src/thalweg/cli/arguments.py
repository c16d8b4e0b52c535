"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from thalweg.problems import Training
    from thalweg.surveys import Target

TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="A problem or surface by name, or path/to/file.py:factory.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
SeedOption = Annotated[int, typer.Option(help="Seed of every random choice.", min=0)]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(help="Weights (.safetensors, or .pt without code), or a folder that was trained into."),
]
TrajectoryOption = Annotated[
    Path | None,
    typer.Option(help="Checkpoints of a training run: a folder of files, or one that was trained into."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A parameter of the problem or surface; may be repeated."
    ),
]
OptimizerOption = Annotated[
    str | None,
    typer.Option(help="An optimizer's name, such as sgd, momentum, adam, adamw, lion, schedule_free_adamw."),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--lr", help="Learning rate; the problem's own, or for an optimizer of another kind the optimizer's."
    ),
]
MomentumOption = Annotated[float | None, typer.Option(help="Momentum α, in [0, 1).")]
DecayOption = Annotated[float | None, typer.Option(help="Weight decay.")]
BatchOption = Annotated[int | None, typer.Option(help="Samples per step.")]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the training data.")]
ThreadsOption = Annotated[
    int | None, typer.Option(help="Processor threads; torch's choice if not given.", min=1)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

_ALONG_THE_GRADIENT = {"gradient_descent", "sgd", "momentum", "nesterov"}
"""Optimizers whose step is the rate times gradients, so that a rate for one is a rate for the other."""


def parameters(assignments: list[str] | None) -> dict[str, Any]:
    """The values of NAME=VALUE assignments, read as Python literals where they are, as text otherwise."""
    found: dict[str, Any] = {}
    for assignment in assignments or []:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidArgument(f"--set takes NAME=VALUE, got {assignment!r}")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def training(target: Target, **given: Any) -> Training | None:
    """The target problem's own training with the `given` settings (those not None) in place of its own.

    None when nothing was given. Raises InvalidArgument for a target that is not trained here, and what `changed` does.
    """
    chosen = [name for name, value in given.items() if value is not None]
    if not chosen:
        return None
    if target.problem is None:
        raise InvalidArgument(f"{', '.join(chosen)}: {target.name} is not trained here, only problems are")
    return changed(target.problem.training, **given)


def changed(own: Training, **given: Any) -> Training:
    """`own` with the `given` settings that are not None.

    A rate is carried over between optimizers that step along the gradient itself; any other one begins with its own
    default, and without momentum. Raises UnknownName for an optimizer that is none.
    """
    from dataclasses import replace

    chosen = {name: value for name, value in given.items() if value is not None}
    name = chosen.get("optimizer", own.optimizer)
    if name in ("momentum", "nesterov") and not own.momentum:
        chosen.setdefault("momentum", 0.9)
    if name != own.optimizer and not {name, own.optimizer} <= _ALONG_THE_GRADIENT:
        from thalweg.surveys.optimizers import default_rate

        chosen = {"lr": default_rate(name), "momentum": 0.0} | chosen
    return replace(own, **chosen)


def use_threads(count: int | None) -> None:
    """Let torch use `count` threads."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def command_line() -> str:
    """The command as it was typed, for a run to tell how it was made."""
    import shlex
    import sys

    return shlex.join(["thalweg", *sys.argv[1:]])
