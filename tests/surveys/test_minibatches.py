from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from thalweg.objective.preserved import preserved_rng
from thalweg.surveys.minibatches import batches_per_epoch, minibatches

SAMPLES, SIZE = 23, 5
X = torch.arange(SAMPLES, dtype=torch.float32)[:, None].repeat(1, 2)
Y = torch.arange(SAMPLES)


class Pairs(Dataset):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return X[i], i


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return ((X[i], i) for i in range(SAMPLES))


def loader(**options: Any) -> DataLoader:
    return DataLoader(TensorDataset(X, Y), batch_size=SIZE, **options)


# What makes the data, and whether thalweg chooses the order of its samples, of its batches or none.
FORMS: dict[str, tuple[Callable[[], Any], str]] = {
    "tensors": (lambda: (X, Y), "samples"),
    "dict": (lambda: {"x": X, "y": Y}, "samples"),
    "dataset": (lambda: Pairs(), "samples"),
    "batches": (
        lambda: [(X[i : i + SIZE], Y[i : i + SIZE]) for i in range(0, SAMPLES, SIZE)],
        "batches",
    ),
    "ordered loader": (lambda: loader(), "none"),
    "shuffled loader": (lambda: loader(shuffle=True), "samples"),
    "generator loader": (lambda: loader(shuffle=True, generator=torch.Generator()), "samples"),
    "stream": (lambda: DataLoader(Stream(), batch_size=SIZE), "none"),
}


def pairs(batch: Any) -> tuple[Tensor, Tensor]:
    return (batch["x"], batch["y"]) if isinstance(batch, dict) else tuple(batch)


def order(data: Any, seed: int = 0, epoch: int = 1) -> list[int]:
    """The samples in the order in which they come, as training sees them."""
    with preserved_rng():
        torch.manual_seed(seed * 1_000_003 + epoch)
        batches = [pairs(batch) for batch in minibatches(data, SIZE, seed, epoch)]
    for x, y in batches:
        assert torch.equal(x, X[y])
    return torch.cat([y for _, y in batches]).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_every_sample_once(form: str) -> None:
    make, _ = FORMS[form]
    assert sorted(order(make())) == list(range(SAMPLES))
    sizes = [len(pairs(batch)[1]) for batch in minibatches(make(), SIZE, 0, 1)]
    assert sorted(sizes) == [3, 5, 5, 5, 5]
    assert batches_per_epoch(make(), SIZE) == 5


@pytest.mark.parametrize("form", FORMS)
def test_order_depends_on_seed_and_epoch_alone(form: str) -> None:
    make, chosen = FORMS[form]
    data = make()
    orders = {(seed, epoch): order(data, seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)}
    torch.rand(17)
    # Another object of the same data, as in a process that continues, asked for one epoch alone.
    for key, found in orders.items():
        assert order(make(), *key) == found
    different = 1 if chosen == "none" else len(orders)
    assert len({tuple(found) for found in orders.values()}) == different


@pytest.mark.parametrize("form", FORMS)
def test_random_states_stay(form: str) -> None:
    data = FORMS[form][0]()
    own = getattr(data, "generator", None)
    mine = None if own is None else own.get_state()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    order(data)
    batches_per_epoch(data, SIZE)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()
    if own is not None:
        assert torch.equal(mine, own.get_state())


def test_batches_larger_than_the_data() -> None:
    assert [len(y) for _, y in minibatches((X, Y), 100, 0, 0)] == [SAMPLES]
    assert batches_per_epoch((X, Y), 100) == 1
