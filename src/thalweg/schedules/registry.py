"""Schedules by name, the project's own and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.registry import Registry
from thalweg.schedules.schedule import Schedule

_registry: Registry[Schedule] = Registry("schedule", "thalweg.schedules")


def register(name: str, factory: Callable[..., Schedule]) -> None:
    """Make `factory(**parameters)` available as `get(name, **parameters)`.

    A package offers its own schedules through the entry-point group "thalweg.schedules" instead.
    Raises InvalidArgument if the name is taken.
    """
    _registry.register(name, factory)


def get(name: str, /, **parameters: Any) -> Schedule:
    """Build the schedule called `name` with its parameters.

    Raises UnknownName with the nearest names, and InvalidArgument for a parameter that the schedule does not
    take or a value that it cannot use.
    """
    return _registry.get(name, **parameters)


def names() -> list[str]:
    """Every known name, sorted."""
    return _registry.names()
