"""The surface that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.arguments import parameters
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from thalweg.surfaces import Surface

SurfaceArgument = Annotated[
    str,
    typer.Argument(metavar="SURFACE", help="A surface by name (thalweg names), or path/to/file.py:factory."),
]


def surface_named(name: str, assignments: list[str] | None) -> Surface:
    """The surface called `name`, with its parameters from NAME=VALUE assignments.

    Raises InvalidArgument for something that is no surface, UnknownName for a name that is nothing.
    """
    from thalweg import problems, surfaces

    if name in problems.names():
        raise InvalidArgument(
            f"{name} is a problem, not a surface: "
            f"thalweg compare {name} --optimizers sgd,adam compares optimizers on it"
        )
    given = parameters(assignments)
    if ".py" not in name:
        return surfaces.get(name, **given)
    from thalweg import surveys

    found = surveys.resolve(name, **given).objective
    if not isinstance(found, surfaces.Surface):
        raise InvalidArgument(
            f"{name} must make a Surface, got {type(found).__name__}: train models with thalweg train"
        )
    return found


def described(surface: Surface, assignments: list[str] | None) -> str:
    """The surface's name with what was set."""
    return f"{surface.name} ({', '.join(assignments)})" if assignments else surface.name
