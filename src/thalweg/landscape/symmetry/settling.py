"""The consequences of what a trace fixed and merged, and which atoms were treated alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.landscape.symmetry.atoms import FIXED, Atoms
from thalweg.landscape.symmetry.labels import along
from thalweg.landscape.symmetry.seen import Event

_Hashes: TypeAlias = NDArray[np.uint64]


def settle(atoms: Atoms, events: Sequence[Event]) -> None:
    """Draw the consequences of what is fixed and merged, until nothing changes.

    A part that is fixed fixes the whole; two wholes of one part move together or not at all; a unit found twice,
    where the two finds cannot be told apart, is fixed.
    """
    while True:
        before = (int((atoms.roots(np.arange(atoms.count)) == FIXED).sum()), _classes(atoms))
        _settle_parts(atoms)
        _fix_ambiguous(atoms, events)
        if before == (int((atoms.roots(np.arange(atoms.count)) == FIXED).sum()), _classes(atoms)):
            return


def _classes(atoms: Atoms) -> int:
    return len(np.unique(atoms.roots(np.arange(atoms.count))))


def _settle_parts(atoms: Atoms) -> None:
    root = atoms.roots(np.arange(atoms.count))
    inside: dict[int, dict[int, list[tuple[int, ...]]]] = defaultdict(lambda: defaultdict(list))
    for block in atoms.blocks.values():
        parts = tuple(int(root[part]) for part in block.parts)
        if len({part for part in parts if part != FIXED}) < len(parts) - parts.count(FIXED):
            atoms.fix(np.array([block.whole, *block.parts]), "units of one part are merged with each other")
        elif FIXED in parts:
            atoms.fix(np.array([block.whole]), "one of its parts is fixed")
        elif root[block.whole] != FIXED:
            for part in parts:
                inside[part][int(root[block.whole])].append(parts)
    for slot in atoms.slots.values():
        if FIXED in (root[slot.atom], root[slot.whole]):
            reason = atoms.reason(slot.atom) or atoms.reason(slot.whole) or "a part of it is fixed"
            atoms.fix(np.array([slot.atom, slot.whole]), reason)
        else:
            inside[int(root[slot.atom])][int(root[slot.whole])].append((slot.index, slot.size))
    for part, wholes in inside.items():
        if len(wholes) > 1:
            several = np.array(list(wholes))
            if len({contents for found in wholes.values() for contents in found}) == 1:
                atoms.unify(several[:1], several[1:], "parts of one whole", derived=True)
            else:
                atoms.fix(np.append(several, part), "an axis is cut in two ways")


def roles(atoms: Atoms, events: Sequence[Event]) -> _Hashes:
    """For each atom a hash of where it was seen and what it was merged with, up to its position.

    Units with equal ones are treated alike: the colours of B. Weisfeiler & A. Leman (1968), refined until stable.
    """
    with np.errstate(over="ignore"):
        role = _seen(atoms, events)
        draw = np.random.default_rng(1)
        salts = draw.integers(1 << 63, size=(len(atoms.links), 2), dtype=np.uint64)
        pairs = np.concatenate([*atoms.links, np.empty((0, 2), np.int64)])
        salt = np.repeat(salts, [len(link) for link in atoms.links], axis=0)
        kept = (pairs > 0).all(axis=1)
        pairs, salt = pairs[kept], salt[kept]
        colours = len(np.unique(role))
        while True:
            refined = _scrambled(role)
            for own, other in ((0, 1), (1, 0)):
                np.add.at(refined, pairs[:, own], _scrambled(role[pairs[:, other]] + salt[:, own]))
            count = len(np.unique(refined))
            if count == colours:
                return role
            role, colours = refined, count


def _seen(atoms: Atoms, events: Sequence[Event]) -> _Hashes:
    draw = np.random.default_rng(0)
    role = np.zeros(atoms.count, np.uint64)
    for event in events:
        for axis, label in enumerate(event.labels):
            salt = draw.integers(1 << 63, size=1, dtype=np.uint64)
            seen = label > 0
            if not seen.any():
                continue
            rows = np.zeros((1,) * label.ndim, np.uint64)
            for other, size in enumerate(label.shape):
                # Along a fixed axis each position is one of its own, along a free one they are alike.
                if other != axis and size > 1:
                    place = along(np.arange(size), other, label.ndim).astype(np.uint64)
                    still = atoms.roots(event.labels[other]) <= FIXED
                    free_of = tuple(i for i, n in enumerate(label.shape) if n == 1)
                    still = np.broadcast_to(still.any(free_of, keepdims=True), label.shape)
                    rows = rows + np.where(still, _scrambled(place * salt + np.uint64(other)), np.uint64(0))
            values = np.broadcast_to(_scrambled(rows + salt), label.shape)
            np.add.at(role, label[seen], values[seen])
    # Parts of a whole that stays can change places with each other only.
    salts = draw.integers(1 << 63, size=len(atoms.blocks), dtype=np.uint64)
    for salt, block in zip(salts, atoms.blocks.values(), strict=True):
        if atoms.roots(np.array(block.whole)) == FIXED:
            role[list(block.parts)] += salt
    return role


def _scrambled(values: _Hashes) -> _Hashes:
    """SplitMix64's output function."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _fix_ambiguous(atoms: Atoms, events: Sequence[Event]) -> None:
    for event in events:
        for axis, label in enumerate(event.labels):
            lines = np.sort(np.moveaxis(label, axis, -1), axis=-1)
            twice = (lines[..., 1:] == lines[..., :-1]) & (lines[..., 1:] > 0)
            if twice.any():
                atoms.fix(lines[..., 1:][twice], "the same units come twice along one axis")
    role, root = roles(atoms, events), atoms.roots(np.arange(atoms.count))
    free = np.flatnonzero((root != FIXED) & (role != 0))
    order = np.lexsort((role[free], root[free]))
    ordered = free[order]
    alike = (root[ordered][1:] == root[ordered][:-1]) & (role[ordered][1:] == role[ordered][:-1])
    atoms.fix(ordered[1:][alike], "two of its axes cannot be told apart")
