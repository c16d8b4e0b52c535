"""Operations that move, cut and join axes: what they do to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.landscape.symmetry.atoms import ANY, FIXED, Atoms, Label
from thalweg.landscape.symmetry.labels import Labels, constant_labels
from thalweg.landscape.symmetry.reshaping import reshaped
from thalweg.landscape.symmetry.rule import Args, Read, Rule


def _argument(args: Sequence[Any], place: int, default: int) -> int:
    return args[place] if len(args) > place else default


def same(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """The result is the first argument."""
    return [read(args[0])]


def view(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Another shape for the entries in their order."""
    return [reshaped(atoms, read(args[0]), args[0].shape, results[0].shape)]


def permute(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Axes in the order args[1]."""
    order = [axis % args[0].dim() for axis in args[1]]
    return [_ordered(read(args[0]), order)]


def transpose(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Two axes exchanged, the only two for `t`."""
    labels = read(args[0])
    order = list(range(len(labels)))
    if order:
        first, second = (args[1], args[2]) if len(args) > 2 else (0, -1)
        order[first], order[second] = order[second], order[first]
    return [_ordered(labels, order)]


def _ordered(labels: Labels, order: Sequence[int]) -> Labels:
    return [labels[axis].transpose(order) for axis in order]


def expand(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Axes of size 1 repeated, and new ones in front: along them the result is constant."""
    labels, shape = read(args[0]), results[0].shape
    added = len(shape) - len(labels)
    found = constant_labels(shape, ANY)
    for axis, label in enumerate(labels):
        if args[0].shape[axis] > 1:
            found[axis + added] = label.reshape((1,) * added + label.shape)
    return [found]


def select(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """One position of an axis, which must then stay where it is."""
    axis = args[1] % args[0].dim()
    index = args[2] % args[0].shape[axis]
    return [_selected(atoms, read(args[0]), axis, index)]


def unbind(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Every position of an axis by itself."""
    axis = _argument(args, 1, 0) % args[0].dim()
    return [_selected(atoms, read(args[0]), axis, index) for index in range(args[0].shape[axis])]


def _selected(atoms: Atoms, labels: Labels, axis: int, index: int) -> Labels:
    atoms.fix(_part(labels[axis], axis, slice(index, index + 1)), "one of its units is picked out")
    return [
        _part(label, axis, slice(index, index + 1)).squeeze(axis)
        for i, label in enumerate(labels)
        if i != axis
    ]


def cut(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Consecutive pieces of an axis."""
    axis = _argument(args, 2, 0) % args[0].dim()
    labels, start, found = read(args[0]), 0, list[Labels]()
    for result in results:
        stop = start + result.shape[axis]
        found.append([_part(label, axis, slice(start, stop)) for label in labels])
        start = stop
    return found


def slices(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Every so many-th position of an axis from one to another."""
    axis, start, stop, step = (*args[1:], *(0, None, None, 1)[len(args) - 1 :])
    axis %= args[0].dim()
    return [[_part(label, axis, slice(start, stop, step)) for label in read(args[0])]]


def flip(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Axes in reverse."""
    labels = read(args[0])
    for axis in args[1]:
        labels = [_part(label, axis % args[0].dim(), slice(None, None, -1)) for label in labels]
    return [labels]


def _part(label: Label, axis: int, where: slice) -> Label:
    return label if label.shape[axis] == 1 else label[(slice(None),) * axis + (where,)]


def concatenate(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Tensors one after another along an axis they have."""
    tensors = [tensor for tensor in args[0] if tensor.numel()]
    axis = _argument(args, 1, 0) % results[0].dim()
    return [_put_together(atoms, [read(t) for t in tensors], [t.shape for t in tensors], axis)]


def stack(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Tensors one after another along a new axis, which is fixed."""
    axis = _argument(args, 1, 0) % results[0].dim()
    parts = [_with_axis(read(tensor), axis) for tensor in args[0]]
    shapes = [[*tensor.shape[:axis], 1, *tensor.shape[axis:]] for tensor in args[0]]
    return [_put_together(atoms, parts, shapes, axis)]


def _with_axis(labels: Labels, axis: int) -> Labels:
    found = [np.expand_dims(label, axis) for label in labels]
    found.insert(axis, np.zeros((1,) * (len(labels) + 1), np.int64))
    return found


def _put_together(atoms: Atoms, parts: list[Labels], shapes: Sequence[Sequence[int]], axis: int) -> Labels:
    found: Labels = []
    for number in range(len(parts[0])):
        labels = [part[number] for part in parts]
        common = np.broadcast_shapes(
            *[[1 if i == axis else n for i, n in enumerate(label.shape)] for label in labels]
        )
        pieces = [
            np.broadcast_to(label, [shape[i] if i == axis else n for i, n in enumerate(common)])
            for label, shape in zip(labels, shapes, strict=True)
        ]
        label = np.concatenate(pieces, axis)
        if number == axis and (label == ANY).any():
            # Constant pieces are alike within each, but not alike to what they are joined with.
            label[label == ANY] = atoms.fresh(int((label == ANY).sum()))
        found.append(label)
    return found


def pad(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """A constant before and after some axes, the last ones first."""
    labels, shape = read(args[0]), list(args[0].shape)
    for number in range(len(args[1]) // 2):
        widths = args[1][2 * number : 2 * number + 2]
        axis = len(shape) - 1 - number
        if min(widths) < 0:
            return None
        if shape[axis] > 1 and (atoms.roots(labels[axis]) > FIXED).any():
            shapes = [
                [*shape[:axis], width, *shape[axis + 1 :]] for width in (widths[0], shape[axis], widths[1])
            ]
            parts = [constant_labels(shapes[0], ANY), labels, constant_labels(shapes[2], ANY)]
            kept = [place for place in range(3) if shapes[place][axis]]
            labels = _put_together(atoms, [parts[p] for p in kept], [shapes[p] for p in kept], axis)
        elif any(widths):
            # Where the constant meets positions that stay, all stay; the other axes are as they were.
            if any(label.shape[axis] > 1 for label in labels):
                return None
            labels[axis] = np.zeros((1,) * len(shape), np.int64)
        shape[axis] += sum(widths)
    return [labels]


def index_select(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Positions of an axis in a given order, which must not depend on what is permuted."""
    if any((atoms.roots(label) > FIXED).any() for label in read(args[2])):
        return None
    axis = args[1] % args[0].dim()
    where = torch.atleast_1d(args[2]).cpu().numpy()
    return [[label if label.shape[axis] == 1 else label.take(where, axis) for label in read(args[0])]]


SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("detach", "alias", "lift_fresh", "lift", "clone", "_to_copy", "contiguous", "native_dropout"), same
    ),
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "view_copy"), view
    ),
    "permute": permute,
    "transpose": transpose,
    "t": transpose,
    "expand": expand,
    "select": select,
    "unbind": unbind,
    "split": cut,
    "unsafe_split": cut,
    "split_with_sizes": cut,
    "unsafe_split_with_sizes": cut,
    "slice": slices,
    "flip": flip,
    "cat": concatenate,
    "stack": stack,
    "constant_pad_nd": pad,
    "index_select": index_select,
}
