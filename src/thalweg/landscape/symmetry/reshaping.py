"""What a reshape, which joins axes and cuts them, does to their labels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from thalweg.landscape.symmetry.atoms import Atoms, Label
from thalweg.landscape.symmetry.cutting import cut
from thalweg.landscape.symmetry.joining import Runs, join
from thalweg.landscape.symmetry.labels import Labels, compact, constant_labels


def reshaped(atoms: Atoms, labels: Labels, before: Sequence[int], after: Sequence[int]) -> Labels:
    """The labels after a reshape: axes that it joins are joined, those that it cuts are cut."""
    if 0 in before:
        return constant_labels(after)
    runs = _runs(before, after)
    sizes = [prod(before[axis] for axis in inside) for inside, _ in runs]
    joined = [join(atoms, labels, before, runs, number) for number in range(len(runs))]
    results: Labels = [np.zeros((1,) * len(after), np.int64) for _ in after]
    for number, (_, outside) in enumerate(runs):
        pieces = cut(atoms, joined[number], number, [after[axis] for axis in outside], sizes)
        for axis, label in zip(outside, pieces, strict=True):
            results[axis] = _spread(label, runs, number, after)
    return compact(atoms, results)


def _runs(before: Sequence[int], after: Sequence[int]) -> Runs:
    """The smallest groups of axes with equal numbers of entries; axes of size 1 belong to none."""
    old = [axis for axis, size in enumerate(before) if size > 1]
    new = [axis for axis, size in enumerate(after) if size > 1]
    runs: Runs = []
    while old or new:
        inside, outside = [old.pop(0)], [new.pop(0)]
        while (a := prod(before[i] for i in inside)) != (b := prod(after[i] for i in outside)):
            inside.append(old.pop(0)) if a < b else outside.append(new.pop(0))
        runs.append((inside, outside))
    return runs


def _spread(label: Label, runs: Runs, number: int, after: Sequence[int]) -> Label:
    """A label over the joined axes as one over the axes after the reshape."""
    shape = [1] * len(after)
    for run, (_, outside) in enumerate(runs):
        if label.shape[run] > 1:
            for axis in outside:
                shape[axis] = after[axis]
    return label.reshape(shape)
