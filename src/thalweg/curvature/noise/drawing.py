"""Samples of an objective's data drawn with replacement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from thalweg.objective import Objective
from thalweg.objective.batches import Batch, batch_size


@dataclass(frozen=True)
class Drawn:
    """Some of the samples drawn, and which draws they are: the position (b,) of each in the order of drawing."""

    batch: Batch
    positions: Tensor

    def between(self, start: int, end: int) -> Batch | None:
        """Those of the draws start to end − 1 that are here."""
        rows = torch.nonzero((self.positions >= start) & (self.positions < end))[:, 0]
        return _rows(self.batch, rows) if len(rows) else None


def draw_samples(obj: Objective, count: int, draw: torch.Generator) -> list[Drawn]:
    """`count` samples, each any of the data with equal chance, read in one pass over the data.

    They come in one batch where samples have one shape, else in one for each batch of the data that was hit.
    """
    indices, order = torch.randint(obj.samples, (count,), generator=draw).sort()
    pieces = list(_hit(obj, indices, order))
    joined = _joined([piece.batch for piece in pieces])
    return pieces if joined is None else [Drawn(joined, torch.cat([piece.positions for piece in pieces]))]


def _hit(obj: Objective, indices: Tensor, order: Tensor) -> Iterator[Drawn]:
    offset = 0
    for batch in obj.batches.source():
        end = offset + batch_size(batch)
        low, high = (int(torch.searchsorted(indices, edge)) for edge in (offset, end))
        if high > low:
            rows = _rows(batch, indices[low:high] - offset)
            yield Drawn(tree_map(obj.batches.placed, rows), order[low:high])
        offset = end


def _rows(batch: Batch, rows: Tensor) -> Batch:
    samples = batch_size(batch)

    def chosen(leaf: Any) -> Any:
        whole = not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != samples
        return leaf if whole else leaf[rows.to(leaf.device)]

    return tree_map(chosen, batch)


def _joined(batches: list[Batch]) -> Batch | None:
    """All batches as one, or None where they differ in more than their number of samples."""
    flat = [tree_flatten(batch) for batch in batches]
    alike = {
        (str(structure), *[_kind(leaf, batch_size(batch)) for leaf in leaves])
        for batch, (leaves, structure) in zip(batches, flat, strict=True)
    }
    if len(batches) == 1:
        return batches[0]
    if len(alike) > 1 or any(kind is None for kind in next(iter(alike))):
        return None
    columns = zip(*[leaves for leaves, _ in flat], strict=True)
    return tree_unflatten([torch.cat(column) for column in columns], flat[0][1])


def _kind(leaf: Any, samples: int) -> str | None:
    """What leaves must have in common to be joined; None for what does not count samples."""
    if not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != samples:
        return None
    return f"{leaf.dtype} {tuple(leaf.shape[1:])}"
