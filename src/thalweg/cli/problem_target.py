"""The model with its data that a command is about."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.arguments import parameters
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from thalweg.surveys import Target

ProblemArgument = Annotated[
    str,
    typer.Argument(metavar="PROBLEM", help="A problem by name (thalweg names), or path/to/file.py:factory."),
]


def problem_named(name: str, assignments: list[str] | None, optimizers: str | None) -> Target:
    """The problem called `name`, or what a file makes, with its parameters from NAME=VALUE assignments.

    Raises InvalidArgument for a surface, with the command that descends it by `optimizers`, the text of an option;
    UnknownName for a name that is nothing.
    """
    from thalweg import surveys

    found = surveys.resolve(name, **parameters(assignments))
    if found.kind == "surface":
        words = ["thalweg", "descend", name]
        words += [word for assignment in assignments or [] for word in ("--set", assignment)]
        if names := _descending(optimizers or ""):
            words += ["--optimizers", ",".join(names)]
        raise InvalidArgument(
            f"{name} is a surface and has no data to train on: {shlex.join(words)} descends it"
        )
    return found


def _descending(optimizers: str) -> list[str]:
    """Of the optimizers in a text such as "adamw(eps=1e-6), sam(momentum)" those that run on surfaces, by name."""
    from thalweg import optim

    words = re.findall(r"\b[a-z]\w*(?!\w*\s*=)", optimizers)
    known = [word for word in dict.fromkeys(words) if word in optim.names()]
    return [word for word in known if getattr(optim.get(word), "columns", False) or word == "sophia_h"]
