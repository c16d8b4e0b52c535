"""Data as a fixed sequence of weighted batches, whatever form the user has it in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from thalweg.errors import InvalidArgument, StochasticObjective
from thalweg.objective.identity import content

Batch: TypeAlias = Any
"""A tensor, or any nesting of tuples, lists and dicts of them; axis 0 of its tensors counts samples."""


def plain(batch: Batch) -> Batch:
    """The batch with every mapping (such as a tokenizer's) as a dict, so that its tensors can be reached."""
    if isinstance(batch, Mapping):
        return {key: plain(value) for key, value in cast("Mapping[Any, Any]", batch).items()}
    if isinstance(batch, (list, tuple)) and not hasattr(batch, "_fields"):
        return type(batch)(plain(value) for value in batch)
    return batch


def tensors(batch: Batch) -> list[Tensor]:
    """The tensors of a batch, in order."""
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]


def batch_size(batch: Batch) -> int:
    """Number of samples: the length of the first tensor that has an axis."""
    for leaf in tensors(batch):
        if leaf.dim():
            return leaf.shape[0]
    raise InvalidArgument(f"data: a batch must hold a tensor with a sample axis, got {type(batch).__name__}")


LEAST_BATCH = 512
"""Samples per batch at least, where the data has no batches of its own."""


@dataclass(frozen=True)
class Batches:
    """Batches in a fixed order, each with its weight; the weights of one pass sum to 1.

    `source` yields the same batches at every pass; `count` says over how many terms a batch's mean loss
    averages (its samples, unless the loss skips or weighs some); `microbatch` splits batches further.
    """

    source: Callable[[], Iterable[Batch]]
    count: Callable[[Batch], float]
    device: torch.device
    dtype: torch.dtype
    microbatch: int | None = None
    cached: bool = False
    notes: tuple[str, ...] = ()
    _totals: dict[str, float] = field(default_factory=dict[str, float])
    _views: list[tuple[float, Batch]] = field(default_factory=list[tuple[float, Any]], init=False)

    def __iter__(self) -> Iterator[tuple[float, Batch]]:
        """What one pass yields is kept where it takes no memory, being nothing but views of data that is held."""
        if self._views:
            yield from self._views
            return
        total, found, views = self.total, list[tuple[float, Batch]](), self.cached
        for batch in self.source():
            placed = tree_map(self.placed, batch)
            views = views and all(
                a is b for a, b in zip(tree_leaves(placed), tree_leaves(batch), strict=True)
            )
            for piece in split(placed, self.microbatch):
                weight = self.count(piece) / total
                if weight:
                    if views:
                        found.append((weight, piece))
                    yield weight, piece
        if views:
            self._views[:] = found

    @property
    def total(self) -> float:
        """Number of terms over which one pass averages."""
        return self._measured()["total"]

    @property
    def samples(self) -> int:
        """Number of samples in one pass."""
        return int(self._measured()["samples"])

    @property
    def largest(self) -> int:
        """Samples in the largest batch as it is evaluated."""
        return min(self.largest_whole, self.microbatch or self.largest_whole)

    @property
    def largest_whole(self) -> int:
        """Samples in the largest batch of the data, before it is split into microbatches."""
        return int(self._measured()["largest"])

    def halved(self) -> Batches | None:
        """The same data in batches of half the size, or None when they already hold one sample."""
        return replace(self, microbatch=self.largest // 2) if self.largest > 1 else None

    def fingerprint(self, *, by_batch: bool = False) -> str:
        """Digest of every number in the data; of how it is cut into batches only with `by_batch`."""
        places: dict[int, Any] = {}
        shapes: dict[int, str] = {}
        for batch in self.source():
            for place, leaf in enumerate(tensors(batch)):
                digest = places.setdefault(place, hashlib.sha256())
                shape = f"{leaf.dtype}{tuple(leaf.shape[1:])}"
                if by_batch or shapes.get(place) != shape:
                    shapes[place] = shape
                    digest.update(shape.encode())
                digest.update(content(leaf))
        return hashlib.sha256("".join(digest.hexdigest() for digest in places.values()).encode()).hexdigest()

    def placed(self, leaf: Any) -> Any:
        """A leaf of a batch on the model's device; a number type narrower than the model's is widened."""
        if not isinstance(leaf, Tensor):
            return leaf
        widens = leaf.is_floating_point() and torch.promote_types(leaf.dtype, self.dtype) == self.dtype
        return leaf.to(self.device, self.dtype if widens else None, non_blocking=True)

    def _measured(self) -> dict[str, float]:
        # One pass on first use: data behind a loader is not read before it is needed.
        if not self._totals:
            total, samples, largest = 0.0, 0, 0
            for number, batch in enumerate(self.source()):
                check_batch(batch, number, self.dtype)
                size = batch_size(batch)
                total, samples, largest = total + self.count(batch), samples + size, max(largest, size)
            if not samples:
                raise InvalidArgument("data is empty: it must yield at least one sample")
            if not total > 0:
                raise InvalidArgument(
                    f"count: the weights of all batches sum to {total}, they must be positive"
                )
            self._totals.update(total=total, samples=samples, largest=largest)
        return self._totals


def split(batch: Batch, size: int | None) -> Iterator[Batch]:
    """The batch in pieces of at most `size` samples; tensors of another length go whole to each piece."""
    samples = batch_size(batch)
    if size is None or samples <= size:
        yield batch
        return

    for start in range(0, samples, size):

        def piece(leaf: Any, start: int = start) -> Any:
            whole = not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != samples
            return leaf if whole else leaf[start : start + size]

        yield tree_map(piece, batch)


def check_batch(batch: Batch, number: int, dtype: torch.dtype) -> None:
    """Raise one clear line when a batch holds NaN, or numbers that the model's type would round."""
    for place, leaf in enumerate(tensors(batch)):
        if not leaf.is_floating_point():
            continue
        if torch.promote_types(leaf.dtype, dtype) != dtype:
            raise InvalidArgument(
                f"data is {leaf.dtype} but the model is {dtype}: convert the data with .to({dtype}) "
                f"or the model with .to({leaf.dtype})"
            )
        if not bool(torch.isfinite(leaf).all()):
            bad = int((~torch.isfinite(leaf)).sum())
            raise InvalidArgument(
                f"data: tensor {place} of batch {number} holds {bad} NaN or infinite entries; "
                "drop or fill those samples"
            )


def make_batches(
    data: Any,
    count: Callable[[Batch], float],
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int | None,
    microbatch: int | None,
    cache_bytes: int,
) -> Batches:
    """Turn (x, y), a list of batches, a Dataset or a DataLoader into `Batches` of fixed order.

    Data without batches of its own is cut into ones of `batch_size`; when None, of 512 samples or 1 MiB,
    whichever is more.

    What fits into `cache_bytes` is read once and kept; the rest is read anew at each pass. Raises
    InvalidArgument for data of another kind and StochasticObjective when two passes differ.
    """
    notes: list[str] = []
    source = _source(data, batch_size, notes)
    cached = isinstance(data, (tuple, list, Mapping))
    if not cached and (held := _held(source, cache_bytes)) is not None:
        source, cached = (lambda: held), True
    return Batches(source, count, device, dtype, microbatch, cached, tuple(notes))


def _source(data: Any, size: int | None, notes: list[str]) -> Callable[[], Iterable[Batch]]:
    if isinstance(data, (tuple, Mapping)):
        whole = plain(data)
        lengths = {
            leaf.shape[0] if isinstance(leaf, Tensor) and leaf.dim() else None for leaf in tree_leaves(whole)
        }
        if len(lengths) > 1 or None in lengths:
            found = [
                tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
                for leaf in tree_leaves(whole)
            ]
            raise InvalidArgument(f"data: {found} must be tensors of one length; for batches pass a list")
        size = size or _batch_size(whole, next(iter(lengths), 0) or 1)
        return lambda: split(whole, size) if lengths and lengths != {0} else ()
    if isinstance(data, list):
        batches = [plain(batch) for batch in cast("list[Any]", data)]
        return lambda: batches
    if isinstance(data, DataLoader):
        return _loader_source(cast("DataLoader[Any]", data), notes)
    if isinstance(data, Dataset):
        return _loader_source(DataLoader(cast("Dataset[Any]", data), batch_size=size or LEAST_BATCH), notes)
    raise InvalidArgument(
        "data must be a tuple of tensors (x, y), a dict of tensors, a list of batches, a torch Dataset or "
        f"a DataLoader, got {type(data).__name__}"
    )


def _batch_size(data: Batch, samples: int) -> int:
    """512 samples, or more of small ones, for which the calls would take longer than the arithmetic."""
    sample_bytes = sum(leaf.numel() * leaf.element_size() for leaf in tensors(data)) / samples
    return max(LEAST_BATCH, int(2**20 / max(sample_bytes, 1)))


def _loader_source(loader: DataLoader[Any], notes: list[str]) -> Callable[[], Iterable[Batch]]:
    ordered = loader
    sampler = _in_order(loader.sampler, loader.dataset)
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        pass
    elif sampler is not loader.sampler or loader.drop_last:
        notes.append("the loader shuffles or drops its last batch: read in order and whole instead")
        ordered = DataLoader(
            loader.dataset,
            batch_size=loader.batch_size or 1,
            sampler=sampler,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
    passes = 0

    def batches() -> Iterator[Batch]:
        nonlocal passes
        passes += 1
        with own_generators(ordered):
            for number, batch in enumerate(ordered):
                batch = plain(batch)
                if number == 0:
                    _check_same(batch, passes)
                yield batch

    first: list[Batch] = []

    def _check_same(batch: Batch, passes: int) -> None:
        if passes == 1:
            first.append(batch)
        elif not all(map(_identical, tensors(first[0]), tensors(batch))):
            raise StochasticObjective(
                "data: the loader gives other batches at each pass (random augmentation, or a random "
                "sampler); make its dataset deterministic, or pass list(loader) to fix one pass"
            )

    return batches


@contextmanager
def own_generators(loader: DataLoader[Any], seed: int | None = None) -> Generator[None]:
    """The random generators that the loader and its samplers own are as before afterwards; inside set to `seed`."""
    samplers = (loader, loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    found = [getattr(sampler, "generator", None) for sampler in samplers]
    states = [(own, own.get_state()) for own in {id(own): own for own in found if own is not None}.values()]
    try:
        for own, _ in states:
            if seed is not None:
                own.manual_seed(seed)
        yield
    finally:
        for own, state in states:
            own.set_state(state)


def _in_order(sampler: Any, dataset: Any) -> Any:
    """The same samples without the shuffling; any other sampler as it is."""
    if isinstance(sampler, SubsetRandomSampler):
        return list(sampler.indices)
    return SequentialSampler(dataset) if isinstance(sampler, RandomSampler) else sampler


def _identical(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a, b))


def _held(source: Callable[[], Iterable[Batch]], limit: int) -> Sequence[Batch] | None:
    """All batches of one pass, or None when they take more than `limit` bytes."""
    kept: list[Batch] = []
    size = 0
    for batch in source():
        size += sum(leaf.numel() * leaf.element_size() for leaf in tensors(batch))
        if size > limit:
            return None
        kept.append(batch)
    # A second look at the first batch finds random augmentation that keeping one pass would hide.
    for _ in source():
        break
    return kept
