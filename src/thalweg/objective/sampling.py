"""A random sample of a data set, as batches of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from thalweg.objective.batches import Batch, Batches, batch_size


@dataclass(frozen=True)
class Drawn:
    """How a sample was drawn: so many samples, without replacement, `of` so many, with this seed."""

    samples: int
    of: int
    seed: int


def sampled(batches: Batches, count: int, seed: int) -> Batches:
    """`count` samples of `batches`, each equally likely, drawn without replacement; held in memory, in their order.

    Samples of different batches come into one as far as their shapes allow, up to the size of the largest.
    """
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(batches.samples, generator=draw)[:count].sort().values
    held = list(_joined(list(_chosen(batches, chosen)), batches.largest_whole))
    return replace(batches, source=lambda: held, cached=True, _totals={})


def _chosen(batches: Batches, chosen: Tensor) -> Iterator[Batch]:
    """The part of each batch that is in the sample, `chosen` (count,) being positions in the whole data."""
    start = 0
    for batch in batches.source():
        size = batch_size(batch)
        ends = torch.searchsorted(chosen, torch.tensor([start, start + size]))
        rows = chosen[ends[0] : ends[1]] - start
        start += size
        if not len(rows):
            continue

        def part(leaf: Any, rows: Tensor = rows, size: int = size) -> Any:
            # As when a batch is split: what has no sample axis goes whole to each part.
            whole = not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != size
            return leaf if whole else leaf[rows.to(leaf.device)]

        yield tree_map(part, batch)


def _joined(parts: Sequence[Batch], most: int) -> Iterator[Batch]:
    group: list[Batch] = []
    size = 0
    for part in parts:
        if group and (size + batch_size(part) > most or not _stackable(group[0], part)):
            yield _one(group)
            group, size = [], 0
        group.append(part)
        size += batch_size(part)
    yield _one(group)


def _one(group: list[Batch]) -> Batch:
    return group[0] if len(group) == 1 else tree_map(lambda *leaves: torch.cat(leaves), *group)


def _stackable(a: Batch, b: Batch) -> bool:
    """Whether two batches differ in nothing but their samples, so that their tensors can be stacked."""
    (first, form), (second, other) = tree_flatten(a), tree_flatten(b)
    return form == other and all(
        isinstance(x, Tensor)
        and isinstance(y, Tensor)
        and x.dim() > 0
        and x.shape[0] == batch_size(a)
        and y.shape[:1] + x.shape[1:] == y.shape
        and y.shape[0] == batch_size(b)
        and (x.dtype, x.device) == (y.dtype, y.device)
        for x, y in zip(first, second, strict=True)
    )
