"""The label of the axis that several axes are joined into."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from thalweg.landscape.symmetry.atoms import ANY, FIXED, Atoms, Label
from thalweg.landscape.symmetry.labels import Labels

Runs: TypeAlias = list[tuple[list[int], list[int]]]
"""Groups of axes before a reshape, and of those after it, with equal numbers of entries."""


def join(atoms: Atoms, labels: Labels, before: Sequence[int], runs: Runs, number: int) -> Label:
    """The label of the axis that joins the axes of one run, over the joined axes."""
    inside = runs[number][0]
    merged = _over_runs(labels[inside[0]], before, runs, number if len(inside) > 1 else None, inside[:1])
    for count in range(1, len(inside)):
        following = _over_runs(labels[inside[count]], before, runs, number, inside[count : count + 1])
        # Both over the whole run; the part joined so far is constant along what follows.
        merged = _joined(atoms, merged, following, before, inside, count, number)
    return merged


def _over_runs(
    label: Label, before: Sequence[int], runs: Runs, whole: int | None, own: Sequence[int]
) -> Label:
    """A label with the axes of each run joined into one, kept at size 1 where it does not depend on them."""
    shape: list[int] = []
    wanted: list[int] = []
    for number, (inside, _) in enumerate(runs):
        needed = number == whole or any(label.shape[axis] > 1 or axis in own for axis in inside)
        sizes = [before[axis] if needed else 1 for axis in inside]
        shape.append(prod(sizes))
        wanted += sizes
    kept = label.reshape([label.shape[axis] for inside, _ in runs for axis in inside])
    return np.broadcast_to(kept, wanted).reshape(shape)


def _joined(
    atoms: Atoms, a: Label, b: Label, before: Sequence[int], inside: list[int], count: int, number: int
) -> Label:
    """The atoms of pairs of positions, `a` of the first `count` axes of the run and `b` of the next one."""
    a, b = np.broadcast_arrays(a, b)
    fixed_a, fixed_b = atoms.roots(a) <= FIXED, atoms.roots(b) <= FIXED
    if fixed_a.all() and fixed_b.all():
        return np.full_like(a, ANY if (a == ANY).all() and (b == ANY).all() else FIXED)
    sizes = [before[axis] for axis in inside]
    place = np.arange(prod(sizes)) // prod(sizes[count + 1 :])
    left, right = place // sizes[count], place % sizes[count]
    rows_a, rows_b = np.moveaxis(a, number, -1), np.moveaxis(b, number, -1)
    joined = np.empty(rows_a.shape, np.int64)
    for row in np.ndindex(rows_a.shape[:-1]):
        one, other = rows_a[row], rows_b[row]
        distinct = len(np.unique(other)) == len(np.unique(place)) and (other > 0).all()
        if (atoms.roots(one) <= FIXED).all() and distinct:
            joined[row] = other
            continue
        joined[row] = [
            _pair(atoms, first, second, int(i), int(j), prod(sizes[:count]), sizes[count])
            for first, second, i, j in zip(one.tolist(), other.tolist(), left, right, strict=True)
        ]
    return np.moveaxis(joined, -1, number)


def _pair(atoms: Atoms, a: int, b: int, i: int, j: int, size_a: int, size_b: int) -> int:
    root_a, root_b = (int(atoms.roots(np.array(atom))) for atom in (a, b))
    if a > 0 and b > 0:
        if atoms.within(b, a):
            return b
        if atoms.within(a, b):
            return a
        repeated = atoms.slots.get(a)
        if repeated is not None and repeated.side == "before" and atoms.within(b, repeated.whole):
            return atoms.slot(b, "before", repeated.index, repeated.size)
    if root_a <= FIXED and root_b <= FIXED:
        return FIXED
    if root_b <= FIXED:
        return atoms.slot(a, "after", j, size_b)
    if root_a <= FIXED:
        return atoms.slot(b, "before", i, size_a)
    atoms.fix(np.array([a, b]), "two axes that can both be permuted are joined into one")
    return FIXED
