"""Where a rule that needs curvature measures it: an objective, or a model with its loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.batch_loss import BatchLoss, LossFunction, ModelBatchLoss, ModelOutputs
from thalweg.objective.batches import Batch, plain


class CurvatureSource:
    """An objective, or a model and its loss, from which curvature at the optimizer's parameters is estimated.

    It is copied along with an optimizer, but not pickled: models and data sets have places of their own.
    `rule` is the optimizer's name in messages. Raises InvalidArgument unless exactly one of `objective` and
    `model` is given, and for a model without a loss.
    """

    def __init__(
        self,
        rule: str,
        objective: AbstractObjective | None,
        model: nn.Module | None,
        loss_fn: LossFunction | None,
        batch_loss: ModelBatchLoss | None,
        outputs: ModelOutputs | None,
    ) -> None:
        self.rule = rule
        self._objective = objective
        self._of_model: Callable[..., Objective] | None = None
        self._module: BatchLoss | None = None
        self._turns: Iterator[tuple[float, Batch]] | None = None
        self._turn = 0
        losses = {"loss_fn": loss_fn, "batch_loss": batch_loss, "outputs": outputs}
        given = [name for name, value in losses.items() if value is not None]
        if (objective is None) == (model is None):
            raise InvalidArgument(
                f"{rule} needs curvature: pass objective=obj, or model=model and loss_fn=loss"
                + (", not both" if model is not None else "")
            )
        if objective is not None:
            if not isinstance(objective, AbstractObjective):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgument(
                    f"objective must be an Objective or a surface, got {type(objective).__name__}: "
                    f"pass Objective(model, loss_fn, data), or model=model and loss_fn=loss"
                )
            if given:
                raise InvalidArgument(f"{', '.join(given)} belong to model=, the objective has its own")
        if isinstance(objective, Objective):
            if objective.batchnorm == "recalibrate":
                raise InvalidArgument(
                    'objective: batchnorm="recalibrate" would read all data for each estimate: use "eval" or "batch"'
                )
            self._module = objective.module
        elif model is not None:
            if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgument(f"model must be a torch.nn.Module, got {type(model).__name__}")
            self._module = BatchLoss(model, loss_fn, batch_loss, outputs)
            self._of_model = partial(Objective, model, loss_fn, batch_loss=batch_loss, outputs=outputs)

    def require_outputs(self) -> None:
        """Raise InvalidArgument where there is no output to sample labels from."""
        module = self._module
        if module is None:
            raise InvalidArgument(
                f"{self.rule} samples labels from a model's output, a surface has none: use SophiaH"
            )
        if module.outputs is None and (module.batch_loss is not None or module.loss_fn is None):
            raise InvalidArgument(
                f"{self.rule} samples labels from the model's output: with batch_loss pass outputs=g as well, where "
                "g(model, batch) returns (output, target), or use SophiaH"
            )

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, differentiable, in the mode that the model is in."""
        if self._module is None:
            raise InvalidArgument(f"{self.rule}: a surface has no batches, call step() after backward()")
        return self._module.mean_loss(self._placed(batch))

    def at(
        self, batch: Batch | None, number: int, params: Sequence[Tensor]
    ) -> tuple[AbstractObjective, Batch | None]:
        """The objective and the batch on it for estimate `number`: the given one, else the objective's next in turn.

        Raises InvalidArgument where there is none.
        """
        if self._objective is not None:
            if not isinstance(self._objective, Objective):
                return self._objective, None
            return self._objective, self._next(number) if batch is None else self._placed(batch)
        if self._of_model is None:
            raise InvalidArgument(
                f"{self.rule} was unpickled without its objective: call measure_on(objective) before step()"
            )
        if batch is None:
            raise InvalidArgument(
                f"{self.rule} needs a batch to estimate curvature on: call step(batch), or pass objective=obj "
                "instead of the model"
            )
        chosen = {id(p) for p in params}
        objective = self._of_model(data=[batch], parameters=lambda _, p: id(p) in chosen)
        (_, placed), *_ = objective.batches
        return objective, placed

    def pieces(
        self, objective: AbstractObjective, vector: Tensor, params: Sequence[Tensor]
    ) -> dict[Tensor, Tensor]:
        """The part of a vector (n,) that belongs to each parameter, in its shape.

        Raises InvalidArgument when a parameter is not among the objective's.
        """
        found: dict[Tensor, Tensor] = {}
        if isinstance(objective, Objective):
            named = dict(objective.model.named_parameters())
            found = {named[b.name]: vector[b.span].view(b.shape) for b in objective.blocks}
        elif sum(p.numel() for p in params) == objective.size:
            parts = vector.split([p.numel() for p in params])
            found = {p: part.view(p.shape) for p, part in zip(params, parts, strict=True)}
        missing = sum(p not in found for p in params)
        if missing:
            raise InvalidArgument(
                f"params: {missing} of {len(params)} are not among the {objective.size} parameters of the objective, "
                "which must hold all that the optimizer trains"
            )
        return found

    def point(self, objective: AbstractObjective, params: Sequence[Tensor]) -> Tensor:
        """The point θ (n,) that the parameters are at."""
        if isinstance(objective, Objective):
            return objective.point
        return torch.cat([p.detach().reshape(-1) for p in params])

    def check(self, params: Sequence[Tensor]) -> None:
        """Raise InvalidArgument when the optimizer trains what the objective or the model does not have."""
        if self._objective is not None:
            self.pieces(self._objective, self._objective.point, params)
        elif self._module is not None:
            held = {id(p) for p in self._module.parameters()}
            foreign = sum(id(p) not in held for p in params)
            if foreign:
                raise InvalidArgument(f"params: {foreign} of {len(params)} are not parameters of the model")

    def _placed(self, batch: Batch) -> Batch:
        if isinstance(self._objective, Objective):
            return tree_map(self._objective.batches.placed, plain(batch))
        return plain(batch)

    def _next(self, number: int) -> Batch:
        """Batch `number` of the objective, counted on through as many passes as it takes."""
        batches = self._objective.batches if isinstance(self._objective, Objective) else ()
        if self._turns is None or number != self._turn:
            length = sum(1 for _ in batches) if number else 1
            self._turns = islice(iter(batches), number % length, None)
        found = next(self._turns, None)
        if found is None:
            self._turns = iter(batches)
            found = next(self._turns)
        self._turn = number + 1
        return found[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        held = {**self.__dict__, "_turns": None}
        made.__dict__.update(copy.deepcopy(held, memo))
        return made

    def __getstate__(self) -> dict[str, Any]:
        empty = dict.fromkeys(("_objective", "_of_model", "_module", "_turns"))
        return {"rule": self.rule, "_turn": 0, **empty}
