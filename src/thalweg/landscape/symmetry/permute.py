"""Networks that are equal up to a permutation of their units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from thalweg.checks import whole
from thalweg.landscape.symmetry.graph import PermutationGraph, arranged, permutations
from thalweg.landscape.symmetry.group import Group


@dataclass(frozen=True)
class Equivalents:
    """How many networks are equal to one by permutation of units, itself included: ∏ h! over its groups.

    count: their number, exactly. log10: its logarithm. groups: the units, with their sizes.
    """

    count: int = field(repr=False)
    log10: float
    groups: tuple[Group, ...]

    def __str__(self) -> str:
        number = f"{self.count:,}" if self.log10 < 15 else f"10^{self.log10:.1f}"
        return f"{number} equivalent networks: {', '.join(f'{g.name}: {g.size}' for g in self.groups) or 'itself'}"


def equivalents(model: nn.Module, x: Any = None) -> Equivalents:
    """Count the networks that are equal to `model` by permutation of its units, as `permutations` finds them.

    x is as there, and so are the errors. Symmetries of other kinds, such as the rescaling of ReLU units, do not count,
    and neither do permutations that were not found: it is a lower bound, exact for plain networks.

    Source: R. Hecht-Nielsen: On the algebraic structure of feedforward network weight spaces, 1990.
    """
    graph = permutations(model, x)
    return Equivalents(graph.count, graph.log10, graph.groups)


def permute(
    model: nn.Module, seed: int = 0, x: Any = None, graph: PermutationGraph | None = None
) -> nn.Module:
    """A copy of `model` with its units in random order, which computes the same function.

    The loss is the same up to the rounding of sums in another order. The copy is deep; `model` does not change.
    seed: of the order. x: as in `permutations`, whose errors it raises. graph: what that returned, to save finding it
    anew.
    """
    whole("seed", seed, 0)
    found = permutations(model, x) if graph is None else graph
    return arranged(model, found.random(model, np.random.default_rng(seed)))
