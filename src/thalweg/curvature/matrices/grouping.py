"""Parameters put together: by the module that holds them, each on its own, or by patterns of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from thalweg.errors import InvalidArgument
from thalweg.objective import Block

By: TypeAlias = Literal["layer", "parameter"] | str | Sequence[str]
"""How parameters are put together: by module, each on its own, or by name patterns such as "layers.3" or "*.bias"."""

OWN = "own parameters"
"""The name of the group of those that the model itself holds, none of its modules."""


def grouped(
    every: Sequence[Block], by: By, names: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[Block]]:
    """The blocks of each layer, parameter or pattern, by its name; a block that no pattern matches is left out.

    names: all names of a block, by its own; of tied parameters a pattern may match any.

    Raises InvalidArgument for no patterns, or one that matches nothing, or nothing that earlier ones left.
    """
    if by == "parameter":
        return {block.name: [block] for block in every}
    found: dict[str, list[Block]] = {}
    if by == "layer":
        for block in every:
            found.setdefault(block.name.rpartition(".")[0] or OWN, []).append(block)
        return found
    left = list(every)
    for pattern in [by] if isinstance(by, str) else by:
        matched = [block for block in every if _matches(pattern, block.name, names)]
        found[pattern] = [block for block in matched if block in left]
        if not found[pattern]:
            _refuse(pattern, every, [name for name, group in found.items() if set(group) & set(matched)])
        left = [block for block in left if block not in matched]
    if not found:
        raise InvalidArgument('by must be "layer", "parameter" or name patterns, got none')
    return found


def some(names: Sequence[str]) -> str:
    """The first four names."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _matches(pattern: str, name: str, names: Mapping[str, Sequence[str]] | None) -> bool:
    return any(
        fnmatchcase(known, pattern) or fnmatchcase(known, f"{pattern}.*")
        for known in ([name] if names is None else names[name])
    )


def _refuse(pattern: str, every: Sequence[Block], earlier: Sequence[str]) -> None:
    if earlier:
        taken = ", ".join(repr(other) for other in sorted(earlier))
        raise InvalidArgument(
            f"by: all that {pattern!r} matches is taken by {taken}: write {pattern!r} before"
        )
    there = some([block.name for block in every])
    raise InvalidArgument(f'by: no parameter matches {pattern!r}, "layer" or "parameter"; there are {there}')
