"""What optimizers are compared on: a problem, and training data with a part held out for tuning."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.objective.batches import batch_size, plain
from thalweg.problems import Problem
from thalweg.surveys import Target

HELD_OUT = 0.2
"""Share of the training data on which trials are judged."""


def as_problem(target: Target) -> Problem:
    """The target's problem; of a model with its data, one whose every model is a copy of it as it stands now.

    Raises InvalidArgument for a surface.
    """
    if target.problem is not None:
        return target.problem
    objective = target.objective
    if not isinstance(objective, Objective):
        raise InvalidArgument(
            f"target {target.name!r} is a {target.kind}: optimizers are compared on models, and run on surfaces by "
            "tw.optim.descend"
        )
    whole = copy.deepcopy(objective.model)
    selected = {block.name for block in objective.blocks}

    def model() -> nn.Module:
        made = copy.deepcopy(whole)
        for name, parameter in made.named_parameters():
            parameter.requires_grad_(name in selected)
        return made

    module = objective.module
    with objective.at() as here:
        try:
            here.values(("accuracy",))
            metrics = ("loss", "accuracy")
        except InvalidArgument:
            metrics = ("loss",)
    return Problem(
        target.name,
        model,
        module.loss_fn,
        _data(objective),
        None if target.test is None else _data(target.test),
        metrics=metrics,
        batch_loss=module.batch_loss,
        outputs=module.outputs,
    )


def _data(objective: Objective) -> Any:
    """The objective's samples as one batch where they can be joined, to be cut anew; else its list of batches."""
    batches = [plain(batch) for batch in objective.batches.source()]
    if all(_is_samples(batch) for batch in batches):
        try:
            return tree_map(lambda *leaves: torch.cat(leaves), *batches)
        except (RuntimeError, ValueError):
            pass
    return batches


def _is_samples(batch: Any) -> bool:
    """Whether every leaf is a tensor with one entry for each sample."""
    size = batch_size(batch)
    return all(
        isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == size for leaf in tree_leaves(batch)
    )


def tuning_problem(problem: Problem, seed: int) -> Problem:
    """The same problem on four fifths of its training data, with the rest, drawn by `seed`, for test data.

    The problem's own test data have no part in it. Raises InvalidArgument for data that cannot be split.
    """
    fit, held = _split(problem.train, seed)
    return replace(problem, train=fit, test=held)


def _split(data: Any, seed: int) -> tuple[Any, Any]:
    if isinstance(data, DataLoader):
        loader = cast("DataLoader[Any]", data)
        if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
            raise InvalidArgument(
                "training data must be samples that can be split for tuning, got a loader of a stream or with "
                "batches of its own: give its Dataset"
            )
        fit, held = _split(loader.dataset, seed)
        given: dict[str, Any] = {
            "batch_size": loader.batch_size,
            "num_workers": loader.num_workers,
            "collate_fn": loader.collate_fn,
        }
        return DataLoader(fit, shuffle=True, **given), DataLoader(held, **given)
    if isinstance(data, list):
        batches = cast("list[Any]", data)
        fit, held = _indices(len(batches), seed, "batches")
        return [batches[i] for i in fit.tolist()], [batches[i] for i in held.tolist()]
    if isinstance(data, Dataset):
        samples = cast("Dataset[Any]", data)
        fit, held = _indices(len(cast("Any", samples)), seed, "samples")
        return Subset(samples, fit.tolist()), Subset(samples, held.tolist())
    whole = plain(data)
    fit, held = _indices(batch_size(whole), seed, "samples")
    return tree_map(lambda leaf: leaf[fit], whole), tree_map(lambda leaf: leaf[held], whole)


def _indices(count: int, seed: int, what: str) -> tuple[Tensor, Tensor]:
    if count < 2:
        raise InvalidArgument(
            f"training data must hold at least 2 {what}, to split some off for tuning, got {count}"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held = max(1, round(HELD_OUT * count))
    return order[held:].sort().values, order[:held].sort().values
