"""The best pairing of the units of one group with those of another, those inside them included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.landscape.symmetry.group import Arrangement, Group, Place, Positions

Grams = Mapping[Place, NDArray[np.float64]]
"""For each axis (n, n): the similarity of each position in model A to each one in model B."""


@dataclass(frozen=True)
class Pairing:
    """Unit i of `a` is paired with unit order[i] of `b`, and `inside` its parts; `value` is the sum of similarities."""

    a: Group
    b: Group
    order: NDArray[np.int64]
    value: float
    inside: tuple[tuple[Pairing, ...], ...] = field(default=(), repr=False)

    def carry(self, old: Arrangement, new: Arrangement) -> None:
        """Write into `new` what the pairing brings from `old` to each position of the group."""
        for place, positions in self.a.places.items():
            new[place][positions] = old[place][self.b.places[place][self.order]]
        for unit in self.inside:
            for pairing in unit:
                pairing.carry(old, new)


def best_pairing(a: Group, b: Group, places: str, grams: Grams) -> Pairing:
    """The pairing of largest total similarity, exactly.

    It is a linear assignment, whose entries for units with groups inside hold the values of assignments.

    places: "places" or "signals", where the units are looked up; axes that `grams` lacks do not count.

    Source: H. Kuhn: The Hungarian method for the assignment problem, 1955, in scipy.
    """
    value = _own_values(a, b, places, grams)
    inner: dict[tuple[int, int], tuple[Pairing, ...]] = {}
    if a.inner:
        for i, j in np.ndindex(value.shape):
            pairs = zip(a.inner[i], b.inner[j], strict=True)
            inner[i, j] = tuple(best_pairing(one, other, places, grams) for one, other in pairs)
            value[i, j] += sum(pairing.value for pairing in inner[i, j])
    from scipy.optimize import linear_sum_assignment  # takes a third of a second to import

    rows, order = linear_sum_assignment(value, maximize=True)
    inside = tuple(inner[i, int(j)] for i, j in enumerate(order)) if inner else ()
    return Pairing(a, b, order, float(value[rows, order].sum()), inside)


def _own_values(a: Group, b: Group, places: str, grams: Grams) -> NDArray[np.float64]:
    """(n, n): the similarity of units, without the groups inside them."""
    value = np.zeros((a.size, b.size))
    mine: Mapping[Place, Positions] = getattr(a, places)
    theirs: Mapping[Place, Positions] = getattr(b, places)
    for place, positions in mine.items():
        if place not in grams:
            continue
        moved = [getattr(group, places).get(place) for group in a.inner[0]] if a.inner else []
        held = np.concatenate([np.ravel(p) for p in moved if p is not None] or [np.empty(0, np.int64)])
        for column in np.flatnonzero(~np.isin(positions[0], held)):
            value += grams[place][np.ix_(positions[:, column], theirs[place][:, column])]
    return value


def present_value(group: Group, places: str, grams: Grams) -> float:
    """The total similarity when every unit is paired with the one in its own place."""
    held: Mapping[Place, Positions] = getattr(group, places)
    return sum(
        float(np.diagonal(grams[place])[positions].sum())
        for place, positions in held.items()
        if place in grams
    )


def inner_products(places: Iterable[Place], a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Grams:
    """For each axis the inner products of the slices of `a` with those of `b`, in double precision."""
    return {(name, axis): (_rows(a[name], axis) @ _rows(b[name], axis).T).numpy() for name, axis in places}


def _rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.detach().movedim(axis, 0).reshape(tensor.shape[axis], -1).to("cpu", torch.float64)
