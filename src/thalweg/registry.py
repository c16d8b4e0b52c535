"""Things that are built by name: one lookup for surfaces, problems and whatever a user's package adds."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from thalweg.errors import InvalidArgument, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Factories of one kind of thing, by name, completed by the entry points of installed packages.

    `kind` is the word that messages use ("surface"); `group` is the entry-point group under which other
    packages offer factories (`[project.entry-points."thalweg.surfaces"]`). An entry point is imported only
    when its name is asked for, and never replaces a registered factory.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str, factory: Callable[..., T]) -> None:
        """Make `factory(**parameters)` available as `get(name, **parameters)`.

        A package offers its own factories through entry points in the registry's group instead.
        Raises InvalidArgument if another factory already has the name.
        """
        if not name:
            raise InvalidArgument(f"name of a {self.kind} must not be empty")
        if self._factories.get(name, factory) is not factory:
            raise InvalidArgument(f"{self.kind} {name!r} is already registered: choose another name")
        self._factories[name] = factory

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted({*self._factories, *(point.name for point in entry_points(group=self.group))})

    def factory(self, name: str) -> Callable[..., T]:
        """The factory called `name`.

        Raises UnknownName, with the nearest known names, if there is none.
        """
        if name in self._factories:
            return self._factories[name]
        for point in entry_points(group=self.group, name=name):
            return point.load()
        known = self.names()
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
        raise UnknownName(f"unknown {self.kind} {name!r}: {hint}")

    def get(self, name: str, /, **parameters: Any) -> T:
        """Build the thing called `name` with its factory's keyword parameters.

        Raises UnknownName, with the nearest known names, and InvalidArgument for a parameter that the factory does
        not take, or needs and did not get, or a value that it cannot use.
        """
        factory = self.factory(name)
        signature = inspect.signature(factory)
        try:
            signature.bind(**parameters)
        except TypeError as error:
            accepted = ", ".join(signature.parameters) or "no parameters"
            raise InvalidArgument(f"{self.kind} {name!r}: {error}; it takes {accepted}") from error
        return factory(**parameters)
