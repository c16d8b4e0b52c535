"""Training batches in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from thalweg.objective.batches import Batch, own_generators, plain
from thalweg.objective.preserved import preserved_rng


def minibatches(data: Any, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """One epoch of `data` in random order: samples of tensors and Datasets, batches of a list, a loader as it is.

    Call it under a seeded random state: a loader draws its own order from the global one.
    """
    draw = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    if isinstance(data, DataLoader):
        loader = cast("DataLoader[Any]", data)
        with own_generators(loader, draw.initial_seed()):
            for batch in loader:
                yield plain(batch)
    elif isinstance(data, list):
        batches = cast("list[Any]", data)
        for index in torch.randperm(len(batches), generator=draw).tolist():
            yield plain(batches[index])
    elif isinstance(data, Dataset):
        samples = cast("Any", data)
        for chosen in torch.randperm(len(samples), generator=draw).split(batch_size):
            yield plain(default_collate([samples[i] for i in chosen.tolist()]))
    else:
        whole = plain(data)
        length = tree_leaves(whole)[0].shape[0]
        for chosen in torch.randperm(length, generator=draw).split(batch_size):
            yield tree_map(lambda leaf, chosen=chosen: leaf[chosen], whole)


def batches_per_epoch(data: Any, batch_size: int) -> int:
    """How many batches `minibatches` makes of `data`."""
    if isinstance(data, DataLoader) and isinstance(cast("Any", data).dataset, IterableDataset):
        # Its length is known only after a pass.
        with preserved_rng():
            return sum(1 for _ in cast("DataLoader[Any]", data))
    if isinstance(data, (DataLoader, list)):
        return len(cast("list[Any]", data))
    if isinstance(data, Dataset):
        return -(-len(cast("Any", data)) // batch_size)
    return -(-tree_leaves(plain(data))[0].shape[0] // batch_size)
