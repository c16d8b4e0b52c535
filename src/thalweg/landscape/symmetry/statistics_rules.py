"""Operations that bring the positions along axes together: reductions, normalizations, pooling."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from torch import Tensor

from thalweg.landscape.symmetry.atoms import Atoms
from thalweg.landscape.symmetry.labels import (
    Labels,
    Operand,
    combine,
    compact,
    constant_labels,
    mix,
)
from thalweg.landscape.symmetry.reshaping import reshaped
from thalweg.landscape.symmetry.rule import Args, Read, operand, still


def reduction(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """A symmetric function of the positions along some axes, all where none are named."""
    x, labels = args[0], read(args[0])
    given = next(
        (arg for arg in args[1:] if isinstance(arg, (int, list, tuple)) and not isinstance(arg, bool)), None
    )
    axes = [given] if isinstance(given, int) else list(given or range(x.dim()))
    axes = {axis % x.dim() for axis in axes} if x.dim() else set()
    mix(atoms, labels, sorted(axes), "reduced")
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    if results[0].dim() not in (x.dim(), len(kept)):
        return None
    names = [*range(x.dim())]
    out: list[Hashable] = (
        [("one", a) if a in axes else a for a in names] if results[0].dim() == x.dim() else [*kept]
    )
    ones: Operand = (constant_labels([1] * x.dim()), [("one", a) for a in names], [1] * x.dim())
    found, _ = combine(atoms, [(labels, names, x.shape), ones], out, "reduced")
    return [found for _ in results]


def norm(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """‖x‖ along axes args[2]."""
    return reduction(atoms, read, (args[0], *args[2:]), results)


def extreme(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """The largest or smallest along an axis, and where it is."""
    if len(args) > 1 and len(results) > 1:
        atoms.fix(read(args[0])[args[1]], "positions along it are counted")
    return reduction(atoms, read, args[:2], results)


def softmax(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Each position along an axis divided by what they have together."""
    labels = read(args[0])
    mix(atoms, labels, [args[1] % args[0].dim()], "softmax")
    return [compact(atoms, labels)]


def layer_norm(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Normalized over the last axes, scaled and shifted elementwise; the statistics stay behind."""
    x, over = args[0], len(args[1])
    labels = read(x)
    mix(atoms, labels, range(x.dim() - over, x.dim()), "layer normalization")
    names = range(x.dim())
    operands = [(labels, names, x.shape)] + [
        operand(read, t, names) for t in args[2:4] if isinstance(t, Tensor)
    ]
    found, _ = combine(atoms, operands, names, "layer normalization")
    none = np.zeros((1,) * x.dim(), np.int64)
    kept = [label if axis < x.dim() - over else none for axis, label in enumerate(found)]
    return [found] + [kept for _ in results[1:]]


def batch_norm(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Each channel by itself, with its weight, bias, mean and variance."""
    x = args[0]
    labels = read(x)
    mix(atoms, labels, [0, *range(2, x.dim())], "batch normalization")
    operands: list[Operand] = [(labels, range(x.dim()), x.shape)]
    operands += [operand(read, arg, [1]) for arg in args[1:5] if isinstance(arg, Tensor)]
    found, _ = combine(atoms, operands, range(x.dim()), "batch normalization")
    channels, _ = combine(atoms, [(found, range(x.dim()), x.shape)], [1], "batch normalization")
    return [found] + [
        channels if r.dim() == 1 and r.numel() else constant_labels(r.shape) for r in results[1:]
    ]


def group_norm(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Channels are normalized in consecutive groups, which can be permuted only as wholes."""
    x, groups = args[0], args[6]
    labels, names = read(x), range(x.dim())
    mix(atoms, labels, range(2, x.dim()), "group normalization")
    channels = [operand(read, t, [1]) for t in args[1:3] if isinstance(t, Tensor)]
    found, _ = combine(atoms, [(labels, names, x.shape), *channels], names, "group normalization")
    shape = [x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]]
    grouped = reshaped(atoms, found, x.shape, shape)
    mix(atoms, grouped, range(2, len(shape)), "group normalization")
    back = reshaped(atoms, compact(atoms, grouped), shape, x.shape)
    return [back] + [constant_labels(result.shape) for result in results[1:]]


def pooling(atoms: Atoms, read: Read, args: Args, results: list[Tensor]) -> list[Labels] | None:
    """Neighbouring pixels together, each channel by itself."""
    x = args[0]
    pixels = len(args[1]) if isinstance(args[1], (list, tuple)) else x.dim() - 2
    labels = still(atoms, read(x), range(x.dim() - pixels, x.dim()), "pixels that are pooled")
    return [labels for _ in results]
