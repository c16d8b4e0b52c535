"""What an optimizer is to be chosen for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from thalweg.errors import InvalidArgument

Kind: TypeAlias = Literal[
    "general", "vision", "language", "tabular", "scientific", "pinn", "sparse", "recommender"
]
Goal: TypeAlias = Literal["default", "generalization", "flatness", "speed", "no tuning"]


@dataclass(frozen=True)
class Task:
    """A training task, as far as it bears on the choice of an optimizer.

    Attributes
    ----------
    kind: of the model or its data; "sparse" and "recommender" have gradients that are mostly zeros.
    goal: what matters most: test error, a flat minimum, the speed of training, or that nothing has to be tuned.
    parameters, samples, batch_size: counts; None where unknown. A batch of all samples is a full batch.
    full_batch: whether each step uses all data, so that the loss has no noise; None where unknown.
    least_squares: whether the loss is a sum of squared residuals.
    memory_limited: whether the state of the optimizer must be small.
    pretrained: whether training starts from trained weights. transformer, recurrent: the architecture.

    Raises InvalidArgument for an unknown kind or goal, or a count below 1.
    """

    kind: Kind = "general"
    goal: Goal = "default"
    parameters: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    full_batch: bool | None = None
    least_squares: bool = False
    memory_limited: bool = False
    pretrained: bool = False
    transformer: bool = False
    recurrent: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("kind", self.kind, Kind), ("goal", self.goal, Goal)):
            if value not in get_args(known):
                raise InvalidArgument(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")
        for name in ("parameters", "samples", "batch_size"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {count}")

    @property
    def deterministic(self) -> bool | None:
        """Whether the loss is the same at every step; None where unknown."""
        if self.full_batch is None and self.samples is not None and self.batch_size is not None:
            return self.batch_size >= self.samples
        return self.full_batch
