"""The genealogy of optimizers: which rule is which other one with what change."""

from __future__ import annotations

import difflib
import inspect
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from thalweg.errors import UnknownName
from thalweg.optim.difference import Change, Difference, compare_hyperparameters
from thalweg.optim.lineage import EDGES, NODES, Edge, Node
from thalweg.optim.names import OTHERS, get, names

ROOT = "gradient_descent"

_LOOKED_AT = ("model", "objective", "loss_fn", "batch_loss", "outputs")
"""Arguments that say what is trained, not how."""


@dataclass(frozen=True)
class Genealogy:
    """A graph without cycles, all of it descending from gradient descent; `nodes` and `edges` in the lecture's order.

    A rule may have several parents, the first of its edges being the main line. print(genealogy) shows the tree of
    main lines.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, name: str) -> Node:
        """The rule called `name`. Raises UnknownName, with the nearest names, if there is none."""
        if name not in self._by_name:
            near = difflib.get_close_matches(name, self._by_name, n=3) or list(self._by_name)
            raise UnknownName(f"no optimizer {name!r} in the genealogy: did you mean {' or '.join(near)}?")
        return self._by_name[name]

    def parents(self, name: str) -> tuple[Edge, ...]:
        """The edges to `name`, the main line first. Raises UnknownName."""
        name = self.node(name).name
        return tuple(edge for edge in self.edges if edge.child == name)

    def children(self, name: str) -> tuple[Edge, ...]:
        """The edges from `name`. Raises UnknownName."""
        name = self.node(name).name
        return tuple(edge for edge in self.edges if edge.parent == name)

    def generation(self, name: str) -> int:
        """Edges on the longest way from gradient descent to `name`. Raises UnknownName."""
        return max((self.generation(edge.parent) + 1 for edge in self.parents(name)), default=0)

    def difference(self, a: str, b: str) -> Difference:
        """What changes from rule `a` to rule `b`: along the graph, in the state and in the hyperparameters.

        The way goes up from `a` to a common ancestor and down to `b`, by the fewest changes; among equals, to the
        youngest ancestor. Raises UnknownName for a name that is not in the genealogy.

        >>> print(genealogy().difference("adam", "adamw").changes[0])
        adam → adamw: weight decay outside the adaptive step
        """
        first, second = self.node(a), self.node(b)
        up, down = self._ways_up(a), self._ways_up(b)
        common = min(
            (node.name for node in self.nodes if node.name in up and node.name in down),
            key=lambda name: (len(up[name]) + len(down[name]), -self.generation(name)),
        )
        changes = (
            *(Change(edge.parent, edge.child, edge.change, undone=True) for edge in up[common]),
            *(Change(edge.parent, edge.child, edge.change, undone=False) for edge in reversed(down[common])),
        )
        return Difference(
            first,
            second,
            common,
            changes,
            tuple(name for name in first.state if name not in second.state),
            tuple(name for name in second.state if name not in first.state),
            compare_hyperparameters(hyperparameters(first), hyperparameters(second)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Lists, dictionaries, strings, numbers and None only: nodes with generation and hyperparameters, and edges."""
        return {
            "nodes": [
                vars(node)
                | {
                    "state": list(node.state),
                    "generation": self.generation(node.name),
                    "hyperparameters": _plain(hyperparameters(node)),
                }
                for node in self.nodes
            ],
            "edges": [vars(edge).copy() for edge in self.edges],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines(ROOT, "", None))

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def _ways_up(self, name: str) -> dict[str, list[Edge]]:
        """For each ancestor, the name itself included, the edges of a shortest way up to it."""
        ways: dict[str, list[Edge]] = {name: []}
        queue = deque([name])
        while queue:
            child = queue.popleft()
            for edge in self.parents(child):
                if edge.parent not in ways:
                    ways[edge.parent] = [*ways[child], edge]
                    queue.append(edge.parent)
        return ways

    def _lines(self, name: str, indent: str, change: str | None) -> list[str]:
        node = self.node(name)
        told = f"{indent}{node.name} ({node.year})" + (f": {change}" if change else "")
        lines = [told if node.in_thalweg else f"{told} [not in Thalweg yet]"]
        for edge in self.children(name):
            if self.parents(edge.child)[0] == edge:
                lines += self._lines(edge.child, indent + "  ", edge.change)
        return lines


def genealogy() -> Genealogy:
    """The genealogy of the optimizers of Thalweg and of those to come, from gradient descent on.

    `in_thalweg` says of each rule whether this version has it. Optimizers that installed packages add are not in it.
    Source: the lecture, its order; each node names its paper.

    >>> [str(edge.change) for edge in genealogy().parents("rmsprop")]
    ['sum of squares → running mean']
    """
    # Once for all: names() looks through the installed packages.
    known = {*names(), *OTHERS}
    return Genealogy(tuple(replace(node, in_thalweg=node.name in known) for node in NODES), EDGES)


def hyperparameters(node: Node) -> dict[str, Any] | None:
    """Hyperparameters and their defaults, from the signature of the class; None if Thalweg does not have it yet."""
    if not node.in_thalweg:
        return None
    return {
        name: parameter.default
        for name, parameter in inspect.signature(get(node.name)).parameters.items()
        if parameter.default is not parameter.empty and name not in _LOOKED_AT
    }


def _plain(values: dict[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
