"""The labels of the axes that an axis is cut into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.landscape.symmetry.atoms import FIXED, Atoms, Label, Slot


def cut(atoms: Atoms, label: Label, axis: int, sizes: Sequence[int], joined: Sequence[int]) -> list[Label]:
    """The labels of the axes that one axis is cut into, each over all of the others in its place."""
    if len(sizes) < 2:
        return [label]
    if not (atoms.roots(label) > FIXED).any():
        return [np.broadcast_to(label, label.shape) for _ in sizes]
    rows = np.moveaxis(label, axis, -1)
    parts = [np.empty(rows.shape, np.int64) for _ in sizes]
    kind = [atoms.block_kind() for _ in sizes]
    for row in np.ndindex(rows.shape[:-1]):
        for part, values in zip(parts, _cut_row(atoms, rows[row], sizes, kind), strict=True):
            part[row] = values.ravel()
    return [np.moveaxis(part, -1, axis) for part in parts]


def _cut_row(atoms: Atoms, row: Label, sizes: Sequence[int], kind: Sequence[int]) -> list[Label]:
    last = sizes[-1]
    grid = row.reshape(-1, last)
    outer, inner = _recovered(atoms, grid, kind[len(sizes) - 1])
    if outer is None:
        fixed = np.any(atoms.roots(grid) <= FIXED, axis=1)
        outer = np.array(
            [
                FIXED if f else atoms.block(r, kind[len(sizes) - 1])
                for r, f in zip(grid.tolist(), fixed, strict=True)
            ]
        )
        inner = grid
    rest = [outer] if len(sizes) == 2 else _cut_row(atoms, outer, sizes[:-1], kind)
    return [np.broadcast_to(part.reshape(-1, 1), grid.shape).reshape(sizes) for part in rest] + [
        inner.reshape(sizes)
    ]


def _recovered(atoms: Atoms, grid: Label, kind: int) -> tuple[Label | None, Label]:
    """The labels of rows and columns, where the axis was made of a free one and a fixed one; else None."""
    slots = [[atoms.slots.get(atom) for atom in row] for row in grid.tolist()]
    known = [[slot for slot in row if slot is not None] for row in slots]
    if any(len(row) < grid.shape[1] for row in known):
        return None, grid
    sides = {slot.side for row in known for slot in row}
    if sides == {"after"}:
        return _places_after(atoms, known), np.zeros_like(grid)
    if sides == {"before"}:
        return _places_before(atoms, known, kind)
    return None, grid


def _places_after(atoms: Atoms, grid: list[list[Slot]]) -> Label | None:
    columns, found = len(grid[0]), list[int]()
    for row in grid:
        whole, size, start = row[0].whole, row[0].size, row[0].index
        expected = [(whole, size, start + column) for column in range(columns)]
        if size % columns or start % columns or [(s.whole, s.size, s.index) for s in row] != expected:
            return None
        found.append(
            whole if size == columns else atoms.slot(whole, "after", start // columns, size // columns)
        )
    return np.array(found)


def _places_before(atoms: Atoms, grid: list[list[Slot]], kind: int) -> tuple[Label | None, Label]:
    rows = len(grid)
    wholes = np.array([[slot.whole for slot in row] for row in grid])
    places = [{(slot.index, slot.size) for slot in row} for row in grid]
    if any(len(place) > 1 for place in places):
        return None, wholes
    if [place.pop() for place in map(set, places)] == [(row, rows) for row in range(rows)] and (
        wholes == wholes[0]
    ).all():
        return np.zeros(rows, np.int64), wholes
    # The fixed axis stays with the rows: each holds one part of the free axis.
    found = [
        atoms.slot(atoms.block(part, kind), "before", *place.pop())
        for part, place in zip(wholes.tolist(), places, strict=True)
    ]
    return np.array(found), wholes
