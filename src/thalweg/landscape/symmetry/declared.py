"""Groups of exchangeable units that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.landscape.symmetry.group import Group


def declared_groups(
    tensors: Mapping[str, Tensor], declared: Mapping[str, Sequence[tuple[str, int]]]
) -> tuple[Group, ...]:
    """Groups from lists of (parameter or buffer, axis); raises InvalidArgument for axes that do not fit."""
    return tuple(_group(tensors, name, places) for name, places in declared.items())


def _group(tensors: Mapping[str, Tensor], name: str, places: Sequence[tuple[str, int]]) -> Group:
    lengths: dict[tuple[str, int], int] = {}
    for tensor, axis in places:
        if tensor not in tensors:
            raise InvalidArgument(
                f"declared: {name!r} names {tensor!r}, which is no parameter or buffer of the model"
            )
        shape = tuple(tensors[tensor].shape)
        if not -len(shape) <= axis < len(shape):
            raise InvalidArgument(f"declared: {name!r} names axis {axis} of {tensor}, whose shape is {shape}")
        lengths[tensor, axis % len(shape)] = shape[axis]
    if not lengths:
        raise InvalidArgument(f"declared: {name!r} names no axes")
    units = min(lengths.values())
    for (tensor, axis), length in lengths.items():
        if length % units:
            raise InvalidArgument(
                f"declared: {name!r} has {units} units, which do not divide the {length} of axis {axis} of {tensor}"
            )
    return Group(name, {place: np.arange(length).reshape(units, -1) for place, length in lengths.items()})
