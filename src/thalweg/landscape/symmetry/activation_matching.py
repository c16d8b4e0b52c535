"""Activation matching: units are paired that answer alike to the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.landscape.symmetry.group import Arrangement, Group, Place
from thalweg.landscape.symmetry.label_tracer import LabelTracer
from thalweg.landscape.symmetry.pairing import best_pairing, inner_products
from thalweg.landscape.symmetry.trace import follow


def match_activations(
    groups: Sequence[Group], model_a: nn.Module, model_b: nn.Module, x: Any, arrangement: Arrangement
) -> Arrangement:
    """The arrangement of model_b whose units' activations on x correlate most with model_a's.

    The correlations are taken over samples, positions and pixels and added up over all signals a group is seen in.
    Each group is matched exactly and independently of the others; one that is seen in no signal stays as it is.

    Source: Y. Li, J. Yosinski, J. Clune, H. Lipson, J. Hopcroft: Convergent Learning, ICLR 2016;
    S. Ainsworth, J. Hayase, S. Srinivasa: Git Re-Basin, ICLR 2023, section 3.1.
    """
    wanted = {int(name) for group in groups for name, _ in group.signals}
    a, b = (_record(model, x, wanted) for model in (model_a, model_b))
    if {name: t.shape for name, t in a.items()} != {name: t.shape for name, t in b.items()}:
        raise InvalidArgument("model_b: it does not compute the same signals on x as model_a")
    found = {place: order.copy() for place, order in arrangement.items()}
    for group in groups:
        places = list(group.signals)
        if places:
            pairing = best_pairing(
                group, group, "signals", inner_products(places, *_standardized(places, a, b))
            )
            pairing.carry(arrangement, found)
    return found


class _Recorder(LabelTracer):
    def __init__(self, model: nn.Module, wanted: set[int]) -> None:
        super().__init__(model)
        self.values: dict[str, Tensor] = {}
        self._wanted = wanted

    def on_signal(self, number: int, value: Tensor) -> None:
        """Keep the signals that are wanted."""
        if number in self._wanted:
            # A copy, as a later operation may write into it.
            self.values[str(number)] = value.detach().clone()


def _record(model: nn.Module, x: Any, wanted: set[int]) -> dict[str, Tensor]:
    recorder = _Recorder(model, wanted)
    follow(model, x, recorder)
    return recorder.values


def _standardized(
    places: Sequence[Place], a: dict[str, Tensor], b: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return tuple({name: _unit_rows(side[name], axis) for name, axis in places} for side in (a, b))  # pyright: ignore[reportReturnType]


def _unit_rows(signal: Tensor, axis: int) -> Tensor:
    """The signal with mean 0 and length 1 at each position of an axis; constant ones become 0."""
    rows = signal.double().movedim(axis, 0)
    flat = rows.reshape(len(rows), -1)
    flat = flat - flat.mean(1, keepdim=True)
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    flat = torch.where(length > 1e-12, flat / length.clamp_min(1e-300), 0.0)
    return flat.reshape(rows.shape).movedim(0, axis)
