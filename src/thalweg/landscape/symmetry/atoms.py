"""Atoms: one name for every unit of every axis, merged where two axes must be permuted alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Label: TypeAlias = NDArray[np.int64]
"""Atoms of the positions along one axis, in an array that broadcasts to the tensor's shape."""

FIXED = 0
"""The label of a position that no permutation moves."""
ANY = -1
"""The label along an axis on which the tensor is constant, so that every permutation suits it."""

Side: TypeAlias = Literal["after", "before"]


@dataclass(frozen=True)
class Block:
    """The atom `whole` holds the atoms `parts`, in order. `kind` is the same for blocks cut out of an axis together."""

    whole: int
    parts: tuple[int, ...]
    kind: int


@dataclass(frozen=True)
class Slot:
    """The atom `atom` is place `index` of `size` of the atom `whole` in an axis made of a free and a fixed one."""

    atom: int
    whole: int
    side: Side
    index: int
    size: int


class Atoms:
    """Atoms, numbered from 1, in classes that move together; a class may be fixed, for a reason.

    links: for each unification the pairs (n, 2) of atoms it merged. used: atoms that a sum was taken over.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1024, np.int64)
        self._fixed = np.zeros(1024, np.bool_)
        self.count = 1
        self._fixed[0] = True
        self.reasons: dict[int, str] = {}
        self.blocks: dict[tuple[int, ...], Block] = {}
        self.block_of: dict[int, list[Block]] = {}
        self.slots: dict[int, Slot] = {}
        self._slot_atoms: dict[tuple[int, Side, int, int], int] = {}
        self.links: list[Label] = []
        self.used: set[int] = set()
        self._kinds = 0

    def fresh(self, size: int) -> Label:
        """`size` new atoms, each in a class of its own."""
        while self.count + size > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
            self._fixed = np.concatenate([self._fixed, np.zeros_like(self._fixed)])
        new = np.arange(self.count, self.count + size)
        self._parent[new] = new
        self.count += size
        return new

    def find(self, atom: int) -> int:
        """The representative of an atom's class."""
        parent = self._parent
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = int(parent[atom])
        return atom

    def roots(self, label: Label) -> Label:
        """The representatives of all atoms of a label; FIXED for fixed ones, ANY stays."""
        found = np.maximum(label, 0)
        while True:
            up = self._parent[found]
            if np.array_equal(up, found):
                break
            found = up
        found = np.where(self._fixed[found], FIXED, found)
        return np.where(label == ANY, ANY, found)

    def fix(self, label: Label, reason: str) -> None:
        """No permutation may move the classes of these atoms."""
        for atom in np.unique(label[label > 0]).tolist():
            root = self.find(atom)
            if not self._fixed[root]:
                self._fixed[root] = True
                self.reasons[root] = reason

    def reason(self, atom: int) -> str | None:
        """Why an atom is fixed, None for one that is not."""
        return self.reasons.get(self.find(atom)) if atom > 0 else None

    def unify(self, a: Label, b: Label, reason: str, *, derived: bool = False) -> None:
        """The positions of `a` and `b`, broadcast, move alike; what meets a fixed position is fixed.

        derived: this only follows from other unifications, and is not recorded in `links`.
        """
        pairs = np.stack([side.ravel() for side in np.broadcast_arrays(a, b)], axis=1)
        pairs = pairs[(pairs != ANY).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
        pairs = np.unique(pairs, axis=0)
        if not derived:
            self.links.append(pairs)
        for first, second in pairs.tolist():
            one, other = self.find(first), self.find(second)
            if one == other:
                continue
            self._unify_wholes(first, second, reason)
            if FIXED in (one, other):
                self.fix(np.array([one, other]), reason)
                continue
            fixed = self._fixed[one] or self._fixed[other]
            because = self.reasons.get(one) or self.reasons.get(other) or reason
            self._parent[other] = one
            if fixed:
                self._fixed[one], self.reasons[one] = True, because

    def _unify_wholes(self, first: int, second: int, reason: str) -> None:
        a, b = self.slots.get(first), self.slots.get(second)
        if a is not None and b is not None and (a.side, a.index, a.size) == (b.side, b.index, b.size):
            self.unify(np.array([a.whole]), np.array([b.whole]), reason, derived=True)

    def block_kind(self) -> int:
        """A new kind for the blocks of one cut."""
        self._kinds += 1
        return self._kinds

    def block(self, parts: Sequence[int], kind: int) -> int:
        """The atom that holds `parts`, the one made before where there is one."""
        key = tuple(parts)
        if key not in self.blocks:
            made = self.blocks[key] = Block(int(self.fresh(1)[0]), key, kind)
            for part in key:
                self.block_of.setdefault(part, []).append(made)
        return self.blocks[key].whole

    def slot(self, whole: int, side: Side, index: int, size: int) -> int:
        """The atom of place `index` of `size` of `whole`; places of places on one side of it are places of it."""
        below = self.slots.get(whole)
        if below is not None and below.side == side:
            place = below.index * size + index if side == "after" else index * below.size + below.index
            return self.slot(below.whole, side, place, below.size * size)
        key = (whole, side, index, size)
        if key not in self._slot_atoms:
            atom = self._slot_atoms[key] = int(self.fresh(1)[0])
            self.slots[atom] = Slot(atom, whole, side, index, size)
        return self._slot_atoms[key]

    def within(self, part: int, whole: int) -> bool:
        """Whether `part` lies in the class of `whole`, at any depth."""
        return any(
            self.find(block.whole) == self.find(whole) or self.within(block.whole, whole)
            for block in self.block_of.get(part, ())
        )
