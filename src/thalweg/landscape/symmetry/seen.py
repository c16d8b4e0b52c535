"""What a forward pass showed of a model's axes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from thalweg.landscape.symmetry.atoms import Atoms
from thalweg.landscape.symmetry.labels import Labels


@dataclass(frozen=True)
class Event:
    """The labels of one tensor: a parameter or buffer (`name`), a computed signal (its number) or neither.

    data: whether it depends on the model's input.
    """

    labels: Labels
    data: bool = False
    name: str | None = None
    signal: int | None = None


@dataclass
class Followed:
    """What a forward pass showed. `reached` are the parameters and buffers that some operation used."""

    atoms: Atoms
    events: list[Event] = field(default_factory=list[Event])
    reached: set[str] = field(default_factory=set[str])


def state(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
