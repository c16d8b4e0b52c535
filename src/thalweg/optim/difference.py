"""What changes between two update rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.optim.lineage import Node


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

    def __str__(self) -> str:
        told = [f"{name}: {a} → {b}" for name, (a, b) in self.changed.items()]
        told += [f"without {name} ({a})" for name, a in self.removed.items()]
        told += [f"with {name} ({b})" for name, b in self.added.items()]
        return "; ".join(told) or "the same, with the same defaults"


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

    def __str__(self) -> str:
        lines = [
            f"{self.a.title} → {self.b.title}",
            f"  {self.a.equation}",
            f"  {self.b.equation}",
            *(f"  {change}" for change in self.changes),
            f"  state: {self._state()}",
            f"  hyperparameters: {self.hyperparameters or self._not_compared()}",
        ]
        return "\n".join(lines)

    def _state(self) -> str:
        told = [f"without {name}" for name in self.state_removed]
        told += [f"with {name}" for name in self.state_added]
        told = told or ["the same tensors for each parameter"]
        notes = [f"{node.title}: {node.state_note}" for node in (self.a, self.b) if node.state_note]
        return "; ".join([*told, *(notes if self.a.state_note != self.b.state_note else [])])

    def _not_compared(self) -> str:
        missing = [node.title for node in (self.a, self.b) if not node.in_thalweg]
        return f"not compared, Thalweg does not have {' and '.join(missing)} yet"


def compare_hyperparameters(a: dict[str, Any] | None, b: dict[str, Any] | None) -> Hyperparameters | None:
    """The difference of two dictionaries of defaults; None if one is unknown."""
    if a is None or b is None:
        return None
    return Hyperparameters(
        {name: value for name, value in a.items() if name not in b},
        {name: value for name, value in b.items() if name not in a},
        {name: (value, b[name]) for name, value in a.items() if name in b and b[name] != value},
    )
