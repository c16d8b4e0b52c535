"""Surfaces by name, the project's own and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.registry import Registry
from thalweg.surfaces.surface import Surface

_registry: Registry[Surface] = Registry("surface", "thalweg.surfaces")


def register(name: str, factory: Callable[..., Surface]) -> None:
    """Make `factory(**parameters)` available as `get(name, **parameters)`.

    A package offers its own surfaces through the entry-point group "thalweg.surfaces" instead.
    Raises InvalidArgument if the name is taken.
    """
    _registry.register(name, factory)


def get(name: str, /, **parameters: Any) -> Surface:
    """Build the surface called `name` with its factory's parameters.

    Raises UnknownName with the nearest names, and InvalidArgument for a parameter that the factory does not
    take or a value that it cannot use.
    """
    return _registry.get(name, **parameters)


def names() -> list[str]:
    """Every known name, sorted."""
    return _registry.names()
