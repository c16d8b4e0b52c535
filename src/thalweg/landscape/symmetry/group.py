"""Units of a network that can be exchanged without changing what it computes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Place: TypeAlias = tuple[str, int]
"""An axis: the name of a parameter or buffer, and the axis' number."""
Positions: TypeAlias = NDArray[np.int64]
Arrangement: TypeAlias = dict[Place, Positions]
"""For each axis that is permuted, which old position comes to each new one, shape (axis length,)."""


@dataclass(frozen=True)
class Group:
    """n units that can be permuted.

    name: the first axis they are found on. places: for each axis the positions (n, k) of every unit, k of them each,
    which move together. signals: the same for computed signals, by their number. inner: for each unit the groups
    inside it, such as the dimensions of an attention head; equally many for each.
    """

    name: str
    places: Mapping[Place, Positions] = field(repr=False)
    signals: Mapping[Place, Positions] = field(default_factory=dict[Place, Positions], repr=False)
    inner: tuple[tuple[Group, ...], ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """The number of units."""
        return len(next(iter(self.places.values())))

    @property
    def count(self) -> int:
        """The number of arrangements: n! times those inside the units."""
        return math.factorial(self.size) * math.prod(g.count for unit in self.inner for g in unit)

    @property
    def log10(self) -> float:
        """log₁₀ of `count`."""
        return math.lgamma(self.size + 1) / math.log(10) + sum(g.log10 for unit in self.inner for g in unit)

    def move(self, order: NDArray[np.int64], arrangement: Arrangement) -> None:
        """Put unit order[i] in the place of unit i, in every axis of `arrangement`, in place."""
        for place, positions in self.places.items():
            axis = arrangement[place]
            axis[positions] = axis[positions[order]]

    def walk(self) -> Iterator[Group]:
        """This group and all groups inside it, the inner ones first."""
        for unit in self.inner:
            for group in unit:
                yield from group.walk()
        yield self
