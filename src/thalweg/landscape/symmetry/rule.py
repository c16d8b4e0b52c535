"""What a rule is: from the labels of an operation's arguments to those of its results."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from thalweg.landscape.symmetry.atoms import Atoms
from thalweg.landscape.symmetry.labels import Labels, Operand, compact, mix

Read: TypeAlias = Callable[[Tensor], Labels]
Args: TypeAlias = tuple[Any, ...]
Rule: TypeAlias = Callable[[Atoms, Read, Args, list[Tensor]], "list[Labels] | None"]
"""(atoms, labels of a tensor, arguments, results) to the results' labels, None where the rule does not apply."""


def operand(read: Read, tensor: Tensor, names: Sequence[Hashable]) -> Operand:
    """A tensor's labels with names for its axes, counted from the right where there are too many names."""
    return read(tensor), names[len(names) - tensor.dim() :], tensor.shape


def still(atoms: Atoms, labels: Labels, axes: Sequence[int], reason: str) -> Labels:
    """The labels with these axes fixed and mixed."""
    for axis in axes:
        atoms.fix(labels[axis], reason)
    mix(atoms, labels, axes, reason)
    return compact(atoms, labels)
