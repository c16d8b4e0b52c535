"""The labels of a tensor's axes, and what contracting and mixing axes does to them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np

from thalweg.landscape.symmetry.atoms import ANY, FIXED, Atoms, Label

Labels: TypeAlias = list[Label]
"""One label for each axis. Where it depends on other axes, each of their positions has a permutation of its own."""

Operand: TypeAlias = tuple[Labels, Sequence[Hashable], Sequence[int]]
"""The labels of a tensor, names for its axes, and its shape."""


def constant_labels(shape: Sequence[int], value: int = FIXED) -> Labels:
    """Labels of a tensor none of whose axes may be permuted (FIXED) or all of them (ANY)."""
    ones = (1,) * len(shape)
    return [np.full(ones, value if size > 1 else FIXED, np.int64) for size in shape]


def fresh_labels(atoms: Atoms, shape: Sequence[int]) -> Labels:
    """Labels of new atoms, independent of each other."""
    return [
        along(atoms.fresh(size) if size > 1 else np.zeros(1, np.int64), axis, len(shape))
        for axis, size in enumerate(shape)
    ]


def along(values: Label, axis: int, dimensions: int) -> Label:
    """(n,) laid along one axis of `dimensions`."""
    return values.reshape([-1 if other == axis else 1 for other in range(dimensions)])


def compact(atoms: Atoms, labels: Labels) -> Labels:
    """The labels without dependences that are none."""
    found: Labels = []
    for axis, label in enumerate(labels):
        for other in range(label.ndim):
            if other != axis and label.shape[other] > 1:
                roots, first = atoms.roots(label), label.take([0], other)
                if (roots == roots.take([0], other)).all():
                    label = first
        if label.shape[axis] > 1 and not (atoms.roots(label) != FIXED).any():
            label = np.zeros((1,) * label.ndim, np.int64)
        found.append(label)
    return found


def mix(atoms: Atoms, labels: Labels, axes: Sequence[int], reason: str) -> None:
    """Positions along `axes` come together: the other axes are permuted alike at all of them."""
    for axis, label in enumerate(labels):
        for other in axes:
            if other != axis and label.shape[other] > 1:
                united(atoms, label, other, reason)


def united(atoms: Atoms, label: Label, axis: int, reason: str) -> Label:
    """The label at all positions of an axis that it depends on, which are unified; of length 1 along it."""
    found = label.take([0], axis)
    for position in range(1, label.shape[axis]):
        other = label.take([position], axis)
        atoms.unify(found, other, reason)
        found = np.where(found == ANY, other, found)
    return found


def combine(
    atoms: Atoms, operands: Sequence[Operand], out: Sequence[Hashable], reason: str
) -> tuple[Labels, list[int]]:
    """The labels and shape of Σ over the names missing in `out` of the product of the operands.

    Axes of one name are unified, those of size 1 are broadcast. An elementwise function is one without a sum.
    """
    names = list(dict.fromkeys(name for _, axes, _ in operands for name in axes))
    sizes = dict.fromkeys(names, 1)
    lifted: dict[Hashable, list[Label]] = {name: [] for name in names}
    for labels, axes, shape in operands:
        for name, label, size in zip(axes, labels, shape, strict=True):
            if size > 1:
                sizes[name] = size
                lifted[name].append(_lift(label, axes, names))
    merged: dict[Hashable, Label] = {}
    for name in names:
        found = sorted(lifted[name], key=lambda label: -sum(n > 1 for n in label.shape))
        label = found[0] if found else np.zeros((1,) * len(names), np.int64)
        for other in found[1:]:
            atoms.unify(label, other, reason)
            label = np.where(label == ANY, other, label)
        merged[name] = label
    summed = [axis for axis, name in enumerate(names) if name not in out]
    for axis in summed:
        atoms.used.update(merged[names[axis]].ravel().tolist())
    results: Labels = []
    for name in out:
        label = merged[name]
        for axis in summed:
            if label.shape[axis] > 1:
                label = united(atoms, label, axis, reason)
        results.append(_lower(label, names, out))
    return compact(atoms, results), [sizes[name] for name in out]


def _lift(label: Label, axes: Sequence[Hashable], names: Sequence[Hashable]) -> Label:
    order = sorted(range(len(axes)), key=lambda axis: names.index(axes[axis]))
    ordered = label.transpose(order)
    shape = [1] * len(names)
    for axis, size in zip(order, ordered.shape, strict=True):
        shape[names.index(axes[axis])] = size
    return ordered.reshape(shape)


def _lower(label: Label, names: Sequence[Hashable], out: Sequence[Hashable]) -> Label:
    rest = [axis for axis, name in enumerate(names) if name not in out]
    ordered = label.transpose([names.index(name) for name in out] + rest)
    return ordered.reshape(ordered.shape[: len(out)])
