"""From atoms and what was seen of them to groups of exchangeable units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from thalweg.landscape.symmetry.atoms import FIXED, Label
from thalweg.landscape.symmetry.group import Group, Place
from thalweg.landscape.symmetry.seen import Event, Followed
from thalweg.landscape.symmetry.settling import roles, settle


def groups_of(followed: Followed) -> tuple[Group, ...]:
    """The groups of a traced model, after fixing what contradicts itself."""
    settle(followed.atoms, followed.events)
    return _Structure(followed).groups


class _Structure:
    """Classes of atoms as units: their members, their parts, and where they are."""

    def __init__(self, followed: Followed) -> None:
        self._atoms = followed.atoms
        self._root: Label = self._atoms.roots(np.arange(self._atoms.count))
        self._role = roles(self._atoms, followed.events).tolist()
        self._spots: dict[int, list[tuple[Place, int, bool]]] = defaultdict(list)
        self._members: dict[int, list[int]] = defaultdict(list)
        self._parts: dict[int, dict[tuple[int, ...], tuple[int, ...]]] = defaultdict(dict)
        self._inner: dict[int, set[int]] = defaultdict(set)
        self._signatures: dict[int, int] = {}
        self._rank: dict[Place, int] = {}
        self._touched = set(self._root[list(self._atoms.used)].tolist())
        for event in followed.events:
            self._note(event, followed.reached)
        for atom in range(1, self._atoms.count):
            if self._root[atom] != FIXED:
                self._members[int(self._root[atom])].append(atom)
        held = self._note_parts()
        top = [unit for unit in self._members if unit not in held]
        self.groups = tuple(sorted(self._grouped(top), key=self._first))

    def _note(self, event: Event, reached: set[str]) -> None:
        if event.data:
            for label in event.labels:
                self._touched.update(self._root[label[label > 0]].tolist())
        if event.name is None and event.signal is None:
            return
        if event.name is not None and event.name not in reached:
            return
        for axis, label in enumerate(event.labels):
            if label.size > 1 and label.size == label.shape[axis]:
                place = (event.name if event.name is not None else str(event.signal), axis)
                self._rank.setdefault(place, len(self._rank))
                for position, atom in enumerate(label.ravel().tolist()):
                    if atom > 0:
                        self._spots[atom].append((place, position, event.name is not None))

    def _note_parts(self) -> set[int]:
        held: set[int] = set()
        for block in self._atoms.blocks.values():
            whole = int(self._root[block.whole])
            if whole != FIXED:
                parts = tuple(int(self._root[part]) for part in block.parts)
                self._parts[whole][(0, self._role[block.whole], block.kind)] = parts
                self._inner[whole].update(parts)
                held.update(parts)
        for slot in self._atoms.slots.values():
            whole = int(self._root[slot.whole])
            if whole != FIXED:
                key = (1, self._role[slot.whole], slot.side == "after", slot.size, slot.index)
                part = int(self._root[slot.atom])
                self._parts[whole][key] = (part,)
                held.add(part)
        return held

    def _ordered_parts(self, unit: int) -> list[int]:
        return list(dict.fromkeys(part for _, parts in sorted(self._parts[unit].items()) for part in parts))

    def _signature(self, unit: int) -> int:
        if unit not in self._signatures:
            parts = self._ordered_parts(unit)
            number = {part: index for index, part in enumerate(parts)}
            kinds = tuple(
                (kind, tuple(number[part] for part in inside))
                for kind, inside in sorted(self._parts[unit].items())
            )
            seen = tuple(sorted(self._role[atom] for atom in self._members[unit]))
            self._signatures[unit] = hash((seen, kinds, tuple(self._signature(part) for part in parts)))
        return self._signatures[unit]

    def _places(self, unit: int) -> list[tuple[Place, int, bool]]:
        own = [
            spot
            for atom in sorted(self._members[unit], key=self._role.__getitem__)
            for spot in self._spots[atom]
        ]
        spots = own + [spot for part in self._ordered_parts(unit) for spot in self._places(part)]
        return sorted(spots, key=lambda spot: self._rank[spot[0]])

    def _is_reached(self, unit: int) -> bool:
        return unit in self._touched or any(self._is_reached(part) for part in self._ordered_parts(unit))

    def _first(self, group: Group) -> tuple[int, int]:
        place, positions = next(iter(group.places.items()))
        return self._rank[place], int(positions.min())

    def _grouped(self, units: Sequence[int]) -> list[Group]:
        alike: dict[int, list[int]] = defaultdict(list)
        for unit in units:
            alike[self._signature(unit)].append(unit)
        found: list[Group] = []
        # In the order of their signatures, so that units that are alike list the groups inside them alike.
        for _, members in sorted(alike.items()):
            inner = tuple(tuple(self._grouped(sorted(self._inner[unit]))) for unit in members)
            spots = [self._places(unit) for unit in members]
            learned = any(spot[2] for spot in spots[0])
            if len(members) > 1 and learned and all(map(self._is_reached, members)):
                found.append(_group(spots, inner if any(inner) else ()))
            else:
                found += [group for unit in inner for group in unit]
        return sorted(found, key=lambda group: self._rank[next(iter(group.places))])


def _group(spots: list[list[tuple[Place, int, bool]]], inner: tuple[tuple[Group, ...], ...]) -> Group:
    places: dict[bool, dict[Place, list[list[int]]]] = {True: {}, False: {}}
    for number, unit in enumerate(spots):
        for place, position, learned in unit:
            rows = places[learned].setdefault(place, [[] for _ in spots])
            rows[number].append(position)
    learned, signals = ({p: np.array(rows) for p, rows in places[side].items()} for side in (True, False))
    name, axis = next(iter(learned))
    return Group(f"{name}[{axis}]", learned, signals, inner)
