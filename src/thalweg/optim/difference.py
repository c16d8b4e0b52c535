"""What changes between two update rules."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from thalweg.optim.lineage import Node

_WIDTH = 100
_MOST_VALUES = 4


@dataclass(frozen=True)
class Change:
    """One step along the genealogy: `child` is `parent` with `change`, which is made or, going up, undone."""

    parent: str
    child: str
    change: str
    undone: bool

    def __str__(self) -> str:
        if self.undone:
            return f"{self.child} → {self.parent}: undo “{self.change}”"
        return f"{self.parent} → {self.child}: {self.change}"


@dataclass(frozen=True)
class Hyperparameters:
    """Defaults by name: only the first rule's, only the second's, and, as pairs, those in which they differ."""

    removed: Mapping[str, Any]
    added: Mapping[str, Any]
    changed: Mapping[str, tuple[Any, Any]]

    def lines(self, a: str, b: str) -> list[str]:
        """A line for each default that differs, and one for those that only the rule titled `a`, or `b`, has."""
        found = [f"{name}: {_value(one)} → {_value(other)}" for name, (one, other) in self.changed.items()]
        for title, held in ((a, self.removed), (b, self.added)):
            if held:
                told = ", ".join(f"{name}={_value(value)}" for name, value in held.items())
                found.append(f"only {title}: {told}")
        return found or ["the same, with the same defaults"]

    def __str__(self) -> str:
        return "; ".join(self.lines("the first", "the second"))


@dataclass(frozen=True)
class Difference:
    """What changes from rule `a` to rule `b`.

    Attributes
    ----------
    common: the ancestor at which the way along the genealogy turns; `a` or `b` itself where one descends from the
        other. changes: the way, first up from `a`, then down to `b`; empty from a rule to itself.
    state_removed, state_added: names of the state tensors that only one of them keeps.
    hyperparameters: compared by the signatures of their classes; None unless Thalweg has both.
    """

    a: Node
    b: Node
    common: str
    changes: tuple[Change, ...]
    state_removed: tuple[str, ...]
    state_added: tuple[str, ...]
    hyperparameters: Hyperparameters | None

    @property
    def parts(self) -> dict[str, list[str]]:
        """What differs, in lines for a reader, by "rule", "changes" on the way, "state" and "hyperparameters"."""
        a, b = self.a.title, self.b.title
        equations = {a: self.a.equation, b: self.b.equation}
        told = self.hyperparameters.lines(a, b) if self.hyperparameters else [self._not_compared()]
        return {
            "rule": [f"{title}: {equation}" for title, equation in equations.items()],
            "changes": [str(change) for change in self.changes] or ["none"],
            "state": self._state(),
            "hyperparameters": told,
        }

    def __str__(self) -> str:
        lines = [f"{self.a.title} → {self.b.title}"]
        for name, entries in self.parts.items():
            lines += [f"  {name}", *(line for entry in entries for line in _wrapped(entry))]
        return "\n".join(lines)

    def _state(self) -> list[str]:
        told = [
            f"only {node.title}: {', '.join(names)}"
            for node, names in ((self.a, self.state_removed), (self.b, self.state_added))
            if names
        ]
        notes = [f"{node.title}: {node.state_note}" for node in (self.a, self.b) if node.state_note]
        told = told or ["the same tensors for each parameter"]
        return [*told, *(notes if self.a.state_note != self.b.state_note else [])]

    def _not_compared(self) -> str:
        missing = [node.title for node in (self.a, self.b) if not node.in_thalweg]
        return f"not compared, Thalweg does not have {' and '.join(missing)} yet"


def _value(value: Any) -> str:
    """The value as it is written in code; of a long tuple how many it holds."""
    if isinstance(value, tuple) and len(cast("tuple[Any, ...]", value)) > _MOST_VALUES:
        return f"({len(cast('tuple[Any, ...]', value))} values)"
    return repr(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )


def compare_hyperparameters(a: dict[str, Any] | None, b: dict[str, Any] | None) -> Hyperparameters | None:
    """The difference of two dictionaries of defaults; None if one is unknown."""
    if a is None or b is None:
        return None
    return Hyperparameters(
        {name: value for name, value in a.items() if name not in b},
        {name: value for name, value in b.items() if name not in a},
        {name: (value, b[name]) for name, value in a.items() if name in b and b[name] != value},
    )
