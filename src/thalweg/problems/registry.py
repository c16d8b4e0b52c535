"""Problems by name, the project's own and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.problems.problem import Problem
from thalweg.registry import Registry

_registry: Registry[Problem] = Registry("problem", "thalweg.problems")


def register(name: str, factory: Callable[..., Problem]) -> None:
    """Make `factory(**parameters)` available as `get(name, **parameters)`.

    A package offers its own problems through the entry-point group "thalweg.problems" instead.
    Raises InvalidArgument if the name is taken.
    """
    _registry.register(name, factory)


def get(name: str, /, **parameters: Any) -> Problem:
    """Build the problem called `name` with its factory's parameters.

    Raises UnknownName with the nearest names, InvalidArgument for a parameter that the factory does not
    take, and MissingData for a problem whose data is not bundled and was not found.
    """
    return _registry.get(name, **parameters)


def names() -> list[str]:
    """Every known name, sorted."""
    return _registry.names()
