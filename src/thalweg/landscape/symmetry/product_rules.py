"""Operations that multiply and sum, or work elementwise; lookups; constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from thalweg.landscape.symmetry.atoms import Atoms
from thalweg.landscape.symmetry.labels import (
    Labels,
    Operand,
    along,
    combine,
    compact,
    constant_labels,
    fresh_labels,
    mix,
)
from thalweg.landscape.symmetry.reshaping import reshaped
from thalweg.landscape.symmetry.rule import Args, Read, Rule, operand, still


def pointwise(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """An elementwise function of tensors, broadcast from the right."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    dimensions = max(tensor.dim() for tensor in tensors)
    names = range(dimensions)
    found, _ = combine(atoms, [operand(read, tensor, names) for tensor in tensors], names, "elementwise")
    return [found for _ in results]


def product(*names: str) -> Rule:
    """A matrix product with the given axes of its arguments; the last name is the result's."""

    def rule(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
        operands = [operand(read, arg, axes) for arg, axes in zip(args, names[:-1], strict=False)]
        return [combine(atoms, operands, names[-1], "contracted")[0]]

    return rule


def linear(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """x Wᵀ + b."""
    lead = [*range(args[0].dim() - 1)]
    operands = [operand(read, args[0], [*lead, "in"]), operand(read, args[1], ["out", "in"])]
    if len(args) > 2 and args[2] is not None:
        operands.append(operand(read, args[2], ["out"]))
    return [combine(atoms, operands, [*lead, "out"], "contracted")[0]]


def convolution(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Channels are contracted; pixels stay where they are. Of grouped ones only depthwise are understood."""
    x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    pixels = [*range(x.dim() - 2)]
    labels = still(atoms, read(x), range(2, x.dim()), "pixels of a convolution")
    filters = still(atoms, read(weight), range(2, weight.dim()), "pixels of a filter")
    taps = [("tap", axis) for axis in pixels]
    if groups == 1:
        names = ["in", "out", *taps] if transposed else ["out", "in", *taps]
    elif groups == x.shape[1] == weight.shape[0] == results[0].shape[1]:
        names = ["out", None, *taps]
    else:
        return None
    arriving = "in" if groups == 1 else "out"
    operands: list[Operand] = [
        (labels, ["batch", arriving, *pixels], [x.shape[0], x.shape[1], *(1 for _ in pixels)]),
        (filters, names, weight.shape),
    ]
    if bias is not None:
        operands.append(operand(read, bias, ["out"]))
    found, _ = combine(atoms, operands, ["batch", "out", *pixels], "contracted")
    return [found]


def embedding(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Rows of a table, which is looked up by number."""
    weight, indices = args[0], args[1]
    table = read(weight)
    atoms.fix(table[0], "rows are looked up by number")
    for label in read(indices):
        atoms.fix(label, "used as numbers")
    mix(atoms, table, [0], "rows are looked up by number")
    last = compact(atoms, table)[1].ravel()
    return [[*constant_labels([*indices.shape, 1])[:-1], along(last, indices.dim(), indices.dim() + 1)]]


def attention(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Softmax of query times key, times value: contracted in each head, over positions that stay."""
    query, key, value = args[:3]
    if query.shape[:-2] != key.shape[:-2] or key.shape[:-2] != value.shape[:-2]:
        return None
    kept = [still(atoms, read(t), [t.dim() - 2], "positions of a sequence") for t in (query, key, value)]
    lead = [*range(query.dim() - 2)]
    names = [[*lead, "t", "e"], [*lead, "s", "e"], [*lead, "s", "f"]]
    operands: list[Operand] = [
        (labels, axes, tensor.shape)
        for labels, axes, tensor in zip(kept, names, (query, key, value), strict=True)
    ]
    operands += [operand(read, arg, [*lead, "t", "s"]) for arg in args[3:] if isinstance(arg, Tensor)]
    found, _ = combine(atoms, operands, [*lead, "t", "f"], "attention")
    weights = found[:-1]
    return [found if r.shape == results[0].shape else _heads(weights, r.shape) for r in results]


def _heads(labels: Labels, shape: Sequence[int]) -> Labels:
    if len(shape) == len(labels) and all(label.shape[-1] == 1 for label in labels):
        return [label[..., 0] for label in labels]
    return constant_labels(shape)


def gated(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """One half of an axis times a function of the other."""
    x = args[0]
    axis = (args[1] if len(args) > 1 else -1) % x.dim()
    shape = [*x.shape[:axis], 2, x.shape[axis] // 2, *x.shape[axis + 1 :]]
    halves = reshaped(atoms, read(x), x.shape, shape)
    atoms.fix(halves[axis], "halves with two tasks")
    names = [*range(x.dim())]
    operands: list[Operand] = []
    for half in (0, 1):
        labels = [
            (label if label.shape[axis] == 1 else label.take([half], axis)).squeeze(axis)
            for i, label in enumerate(halves)
            if i != axis
        ]
        operands.append((labels, names, results[0].shape))
    return [combine(atoms, operands, names, "gated")[0]]


def constant(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """A tensor of equal entries: no permutation changes it. New atoms, not ANY, as it may be written into.

    They are others at each position of the first axis: the states that all layers of a recurrent network start from
    come as one tensor.
    """
    return [_constant(atoms, result.shape) for result in results]


def _constant(atoms: Atoms, shape: Sequence[int]) -> Labels:
    labels = fresh_labels(atoms, shape)
    if len(shape) < 3 or shape[0] == 1:
        return labels
    rows = [labels, *(fresh_labels(atoms, shape) for _ in range(shape[0] - 1))]
    return [labels[0], *(np.concatenate([row[axis] for row in rows]) for axis in range(1, len(shape)))]


def untouched(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Reads a number out, or writes one everywhere."""
    return [read(args[0]) for _ in results]
