"""A problem: a model, its loss, its data and how it is usually trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective

Data: TypeAlias = Any
"""Whatever `Objective` takes: a tuple of tensors (x, y), a list of batches, a Dataset or a DataLoader."""


@dataclass(frozen=True)
class Training:
    """How a problem is trained unless the user says otherwise.

    `optimizer` is a name from `thalweg.optim.names()`, looked up when training begins. `momentum` counts for
    "momentum", "nesterov" and "rmsprop", not for "sgd", which is plain here; other optimizers that have one keep
    their own while it is 0. `batch_size` is in samples and `epochs` in passes over the training data. Raises
    InvalidArgument for values out of range.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, str) or not self.optimizer:  # pyright: ignore[reportUnnecessaryIsInstance] - users pass classes
            raise InvalidArgument(f'optimizer must be a name such as "adam", got {self.optimizer!r}')
        if not 0 < self.lr < math.inf:
            raise InvalidArgument(f"lr must be positive and finite, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise InvalidArgument(f"momentum must be in [0, 1), got {self.momentum}")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidArgument(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if self.batch_size < 1:
            raise InvalidArgument(f"batch_size must be at least 1, got {self.batch_size}")
        if self.epochs < 0:
            raise InvalidArgument(f"epochs must be at least 0, got {self.epochs}")


@dataclass(frozen=True)
class Problem:
    """A ready problem: a model factory with its mean loss, training and test data, and default training.

    `model` builds a freshly initialized model from torch's global generator: call `make_model(seed)`, which
    seeds it. `loss_fn(output, target)` is a mean over the batch. `metrics` are what is worth measuring
    beside each other: ("loss", "accuracy") for classification, ("loss",) else. `batch_loss` and `outputs`
    are for batches that are not (x, y), as `Objective` describes them.
    """

    name: str
    model: Callable[[], nn.Module]
    loss_fn: Callable[[Tensor, Tensor], Tensor] | None
    train: Data = field(repr=False)
    test: Data | None = field(default=None, repr=False)
    training: Training = Training()
    metrics: tuple[str, ...] = ("loss", "accuracy")
    description: str = ""
    source: str = ""
    batch_loss: Callable[[nn.Module, Any], Tensor] | None = None
    outputs: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] | None = None

    def make_model(self, seed: int = 0) -> nn.Module:
        """A model initialized from `seed`; torch's global random state is the same afterwards."""
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reseed every accelerator too, which the fork does not restore.
            torch.default_generator.manual_seed(seed)
            return self.model()

    def objective(
        self,
        model: nn.Module | None = None,
        *,
        split: Literal["train", "test"] = "train",
        seed: int = 0,
        **options: Any,
    ) -> Objective:
        """The loss of `model` on one split, as an objective.

        Without a model, one initialized from `seed`. `options` go to `Objective` and win over the
        problem's own settings. Raises InvalidArgument for a split that the problem does not have.
        """
        given: dict[str, Any] = {
            "name": self.name if split == "train" else f"{self.name} ({split})",
            "batch_loss": self.batch_loss,
            "outputs": self.outputs,
        }
        data = self._split(split)
        return Objective(model or self.make_model(seed), self.loss_fn, data, **(given | options))

    def train_objective(self, model: nn.Module | None = None, **options: Any) -> Objective:
        """The loss on the training data, as an objective."""
        return self.objective(model, split="train", **options)

    def test_objective(self, model: nn.Module | None = None, **options: Any) -> Objective:
        """The loss on the test data, as an objective."""
        return self.objective(model, split="test", **options)

    def _split(self, split: str) -> Data:
        if split not in ("train", "test"):
            raise InvalidArgument(f'split must be "train" or "test", got {split!r}')
        data = self.train if split == "train" else self.test
        if data is None:
            raise InvalidArgument(f'problem {self.name!r} has no test data: use split="train"')
        return data
