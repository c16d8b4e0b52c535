"""Weight matching: the arrangement of one model that brings its parameters nearest to another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from thalweg.landscape.symmetry.group import Arrangement, Group, Place
from thalweg.landscape.symmetry.pairing import best_pairing, inner_products, present_value


class WeightMatching:
    """Maximizes Σ ⟨A, B arranged⟩ over all parameters, which minimizes ‖A − B arranged‖, by coordinate descent.

    a, b: the parameters of the two models by name. Each step arranges one group optimally while the others stay.
    """

    def __init__(self, groups: Sequence[Group], a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
        self._groups, self._a, self._original = groups, a, b
        self._places = [[place for place in group.places if place[0] in a] for group in groups]
        self._owners: dict[str, set[int]] = {}
        for number, places in enumerate(self._places):
            for name, _ in places:
                self._owners.setdefault(name, set()).add(number)
        self.arrangement: Arrangement = {}
        self._b: dict[str, Tensor] = {}

    def start(self, lengths: Mapping[Place, int]) -> None:
        """Put everything in the order it came."""
        self.arrangement = {place: np.arange(length) for place, length in lengths.items()}
        self._b = dict(self._original)

    def value(self) -> float:
        """Σ ⟨A, B arranged⟩ over the parameters that a group moves."""
        return sum(
            float((self._a[name].detach().double() * self._b[name].detach().double()).sum())
            for name in sorted(self._owners)
        )

    def propagate(self) -> None:
        """Arrange one group after the other, each by the parameters all of whose other axes are arranged by then."""
        settled: set[int] = set()
        while len(settled) < len(self._groups):
            known = {
                number: [place for place in places if self._owners_elsewhere(place, number) <= settled]
                for number, places in enumerate(self._places)
                if number not in settled
            }
            number = max(
                known, key=lambda n: self._entries(known[n]) / max(1, self._entries(self._places[n]))
            )
            self._improve(number, known[number] or self._places[number])
            settled.add(number)

    def descend(self, order: Sequence[int], max_sweeps: int) -> int:
        """Arrange all groups in this order, again and again until nothing is gained; the number of sweeps."""
        for sweep in range(1, max_sweeps + 1):
            gained = [self._improve(number, self._places[number]) for number in order]
            if not any(gained):
                return sweep
        return max_sweeps

    def _owners_elsewhere(self, place: Place, number: int) -> set[int]:
        """The groups that arrange the other axes of a parameter, `number` itself where it does so too."""
        name, axis = place
        return {
            n
            for n in self._owners[name]
            if any(other == name and (n != number or along != axis) for other, along in self._places[n])
        }

    def _entries(self, places: Sequence[Place]) -> int:
        return sum(self._a[name].numel() for name, _ in places)

    def _improve(self, number: int, places: Sequence[Place]) -> bool:
        """Arrange one group by the parameters of these axes; whether something was gained."""
        group = self._groups[number]
        grams = inner_products(places, self._a, self._b)
        pairing = best_pairing(group, group, "places", grams)
        before = present_value(group, "places", grams)
        scale = sum(float(np.abs(np.diagonal(gram)).sum()) for gram in grams.values())
        if not pairing.value > before + 1e-10 * scale:
            return False
        complete = len(places) == len(self._places[number])
        # A matrix with both axes in the group makes the problem quadratic, and the assignment a guess.
        quadratic = complete and len({name for name, _ in places}) < len(places)
        start, kept, tensors = self.value() if quadratic else 0.0, self.arrangement, self._b
        arrangement = {place: order.copy() for place, order in kept.items()}
        pairing.carry(kept, arrangement)
        self.arrangement, self._b = arrangement, dict(tensors)
        for name in {name for name, _ in group.places if name in self._a}:
            self._b[name] = self._arranged(name)
        if quadratic and not self.value() > start + 1e-10 * scale:
            self.arrangement, self._b = kept, tensors
            return False
        return True

    def _arranged(self, name: str) -> Tensor:
        tensor = self._original[name].detach()
        for (owner, axis), order in self.arrangement.items():
            if owner == name:
                tensor = tensor.index_select(axis, torch.from_numpy(order).to(tensor.device))
        return tensor
