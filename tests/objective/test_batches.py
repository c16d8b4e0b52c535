"""Every form of data gives the mean over all samples, in one order."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from thalweg.errors import InvalidArgument, StochasticObjective
from thalweg.objective import Objective

from .oracle import Dense
from .test_objective import assert_same
from .zoo import displaced, mlp, normal, seeded

N = 11
X, Y = normal(N, 4), torch.arange(N) % 3


class Pairs(Dataset):
    """Counts how often a sample is read."""

    def __init__(self, x=X, y=Y):
        self.x, self.y, self.reads = x, y, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.reads += 1
        return self.x[index], self.y[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def as_dicts(pairs):
    return {"x": torch.stack([x for x, _ in pairs]), "y": torch.stack([y for _, y in pairs])}


FORMS = {
    "tensors": lambda: (X, Y),
    "list of unequal batches": lambda: [(X[:7], Y[:7]), (X[7:8], Y[7:8]), [X[8:], Y[8:]]],
    "dataset": Pairs,
    "tensor dataset": lambda: TensorDataset(X, Y),
    "iterable dataset": Stream,
    "loader": lambda: DataLoader(Pairs(), batch_size=4),
    "shuffling loader": lambda: DataLoader(Pairs(), batch_size=4, shuffle=True),
    "loader that drops": lambda: DataLoader(Pairs(), batch_size=4, drop_last=True),
    "shuffling loader that drops": lambda: DataLoader(Pairs(), batch_size=4, shuffle=True, drop_last=True),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=4),
    "loader without batches": lambda: DataLoader([(X[:6], Y[:6]), (X[6:], Y[6:])], batch_size=None),
    "batch sampler": lambda: DataLoader(Pairs(), batch_sampler=BatchSampler(range(N), 4, drop_last=False)),
    "random subset that is all": lambda: DataLoader(
        Pairs(), batch_size=4, sampler=SubsetRandomSampler(range(N))
    ),
    "single precision": lambda: [(X[:7].float().double(), Y[:7]), (X[7:].float().double(), Y[7:])],
}


@pytest.fixture(scope="module")
def dense():
    model = mlp()
    return Dense(model, lambda model: F.cross_entropy(model(X), Y), displaced(model))


@pytest.mark.parametrize("memory_budget", [None, 0])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "single precision"])
def test_every_form_of_data_gives_the_mean_over_samples(dense, form, memory_budget):
    objective = Objective(mlp(), F.cross_entropy, FORMS[form](), batch_size=4, memory_budget=memory_budget)
    theta, v = dense.theta, normal(dense.theta.numel(), seed=2)
    assert objective.samples == N
    for _ in range(2):
        assert_same(objective.loss(theta), dense.loss)
        assert_same(objective.gradient(theta), dense.gradient)
        assert_same(objective.hvp(v, theta), dense.hessian @ v)


@pytest.mark.parametrize("form", ["one dict", "list of dicts", "loader of dicts", "mapping that is no dict"])
def test_dicts(dense, form):
    class Encoding(dict):
        """What a tokenizer returns; a subclass of dict, which torch's trees take as one leaf."""

    pairs = list(zip(X, Y, strict=True))
    data = {
        "one dict": lambda: {"x": X, "y": Y},
        "list of dicts": lambda: [as_dicts(pairs[:7]), as_dicts(pairs[7:])],
        "loader of dicts": lambda: DataLoader(Pairs(), batch_size=4, collate_fn=as_dicts, drop_last=True),
        "mapping that is no dict": lambda: [Encoding(as_dicts(pairs[:7])), Encoding(as_dicts(pairs[7:]))],
    }[form]()

    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    for microbatch in (None, 2):
        objective = Objective(mlp(), data=data, batch_loss=loss, batch_size=4, microbatch=microbatch)
        assert objective.samples == N
        assert_same(objective.gradient(dense.theta), dense.gradient)


def test_several_inputs_and_nested_ones():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, a, b=None):
            a, b = a if b is None else (a, b)
            return torch.tanh(self.left(a)) * self.right(b)

    model, z = seeded(Two()), normal(N, 2, seed=4)
    dense = Dense(model, lambda model: F.cross_entropy(model(X, z), Y), displaced(model))
    for data in (
        (X, z, Y),
        ((X, z), Y),
        [((X[:7], z[:7]), Y[:7]), ((X[7:], z[7:]), Y[7:])],
        ({"a": X, "b": z}, Y),
    ):
        objective = Objective(model, F.cross_entropy, data, microbatch=3)
        assert_same(objective.gradient(dense.theta), dense.gradient)


def test_a_subset_sampler_restricts_the_data():
    chosen = [9, 2, 4, 7, 1]
    model = mlp()
    dense = Dense(model, lambda model: F.cross_entropy(model(X[chosen]), Y[chosen]), displaced(model))
    for drop_last in (False, True):
        loader = DataLoader(Pairs(), batch_size=2, sampler=SubsetRandomSampler(chosen), drop_last=drop_last)
        objective = Objective(model, F.cross_entropy, loader)
        assert objective.samples == len(chosen)
        assert_same(objective.gradient(dense.theta), dense.gradient)
        assert len(objective.notes) == 1


def test_a_reordered_loader_is_noted_and_left_alone():
    loader = DataLoader(Pairs(), batch_size=4, shuffle=True, drop_last=True)
    objective = Objective(mlp(), F.cross_entropy, loader)
    assert objective.notes == ["the loader shuffles or drops its last batch: read in order and whole instead"]
    assert len(loader) == 2
    assert type(loader.sampler).__name__ == "RandomSampler"
    assert Objective(mlp(), F.cross_entropy, DataLoader(Pairs(), batch_size=4)).notes == []


def test_data_beyond_the_budget_are_read_at_each_pass():
    kept, anew = Pairs(), Pairs()
    a = Objective(mlp(), F.cross_entropy, kept, batch_size=4)
    b = Objective(mlp(), F.cross_entropy, anew, batch_size=4, memory_budget=64)
    a.loss(), b.loss()
    reads = kept.reads, anew.reads
    theta = displaced(a.model)
    assert_same(b.hvp(theta, theta), a.hvp(theta, theta))
    assert torch.equal(a.loss(theta), b.loss(theta))
    assert kept.reads == reads[0]
    assert anew.reads >= reads[1] + 2 * N


class Augmented(Pairs):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.1 * torch.randn(4, dtype=torch.float64), y


class AugmentedByNumpy(Pairs):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x * np.random.rand(), y  # noqa: NPY002 - as many a dataset does


RANDOM = {
    "augmentation": Augmented,
    "augmentation by numpy": AugmentedByNumpy,
    "augmentation in a loader": lambda: DataLoader(Augmented(), batch_size=4, shuffle=True),
    "weighted sampler": lambda: DataLoader(
        Pairs(), batch_size=8, sampler=WeightedRandomSampler([1.0] * N, N)
    ),
    "weighted sampler that drops": lambda: DataLoader(
        Pairs(), batch_size=8, sampler=WeightedRandomSampler([1.0] * N, N), drop_last=True
    ),
    "shuffling batch sampler": lambda: DataLoader(
        Pairs(), batch_sampler=BatchSampler(SubsetRandomSampler(range(N)), 8, drop_last=False)
    ),
}


@pytest.mark.parametrize("memory_budget", [None, 0])
@pytest.mark.parametrize("form", RANDOM)
def test_data_that_change_at_each_pass_are_named(form, memory_budget):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    with pytest.raises(
        StochasticObjective, match="data: the loader gives other batches at each pass"
    ) as raised:
        Objective(mlp(), F.cross_entropy, RANDOM[form](), memory_budget=memory_budget)
    assert "\n" not in str(raised.value)
    assert "list(loader)" in str(raised.value)
    fixed = RANDOM[form]()
    fixed = list(fixed if isinstance(fixed, DataLoader) else DataLoader(fixed))
    objective = Objective(mlp(), F.cross_entropy, fixed)
    assert torch.equal(objective.loss(), objective.loss())


def test_narrower_data_are_widened():
    x = X.float()
    wide = Objective(mlp(), F.cross_entropy, (x.double(), Y)).gradient()
    for data in ((x, Y), [(x, Y)], TensorDataset(x, Y)):
        assert torch.equal(Objective(mlp(), F.cross_entropy, data).gradient(), wide)
    target = normal(N, 3).float()
    wide = Objective(mlp(), F.mse_loss, (x.double(), target.double())).gradient()
    assert torch.equal(Objective(mlp(), F.mse_loss, (x, target)).gradient(), wide)


def test_data_stay_as_they_were():
    data = [(X.float(), Y.clone()), (X[:3].float(), Y[:3])]
    before = copy.deepcopy(data)
    Objective(mlp(), F.cross_entropy, data, microbatch=2).hvp(Objective(mlp(), F.cross_entropy, data).point)
    assert all(
        torch.equal(a, b)
        for old, new in zip(before, data, strict=True)
        for a, b in zip(old, new, strict=True)
    )
    assert data[0][0].dtype == torch.float32


def test_count_weighs_batches():
    # Two batches whose means average 5 and 1 terms, whatever their number of samples.
    batches = [
        {"x": X[:4], "y": Y[:4], "terms": 5},
        {"x": X[4:], "y": Y[4:], "terms": 1},
    ]

    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    model = mlp()
    objective = Objective(model, data=batches, batch_loss=loss, count=lambda batch: float(batch["terms"]))
    wanted = 5 / 6 * loss(model, batches[0]) + 1 / 6 * loss(model, batches[1])
    assert_same(objective.loss(), wanted.detach())
    with pytest.raises(InvalidArgument, match="count: the weights of all batches sum to 0"):
        Objective(model, data=batches, batch_loss=loss, count=lambda batch: 0.0)


def held(data, model=None, loss=F.cross_entropy, **options):
    """The batches of an objective, and the list of what it keeps of a pass."""
    batches = Objective(model or mlp(), loss, data, **options).batches
    return batches, batches._views


def same_objects(a, b):
    return len(a) == len(b) and all(
        weight == again and batch is kept for (weight, batch), (again, kept) in zip(a, b, strict=True)
    )


PAIRS = [(X[:7], Y[:7]), (X[7:], Y[7:])]


@pytest.mark.parametrize("microbatch", [None, 3])
def test_pieces_of_data_in_memory_are_made_once(microbatch):
    batches, kept = held(PAIRS, microbatch=microbatch)
    assert kept == []
    first, second = list(batches), list(batches)
    assert len(first) == len(kept) == (2 if microbatch is None else 5)
    assert same_objects(first, second)
    assert sum(weight for weight, _ in first) == pytest.approx(1)
    assert torch.equal(torch.cat([x for _, (x, _) in second]), X)
    # They take no memory of their own.
    whole = {x.untyped_storage().data_ptr() for x, _ in PAIRS}
    assert {x.untyped_storage().data_ptr() for _, (x, _) in second} == whole


def test_nothing_is_kept_of_a_pass_that_stopped():
    batches, kept = held(PAIRS, microbatch=3)
    for stop in (1, 2, 4):
        for number, _ in enumerate(batches, 1):
            if number == stop:
                break
        assert kept == []
    passed = iter(batches)
    for _ in range(5):
        next(passed)
    # Not known to be the last one yet.
    assert kept == []
    assert next(passed, None) is None
    assert len(kept) == 5


@pytest.mark.parametrize("form", FORMS)
def test_only_data_that_need_no_conversion_are_kept(form):
    """In the type of the model they are views; widened ones, and those of a loader read anew, would take memory."""
    batches, kept = held(FORMS[form](), batch_size=4)
    first, second = list(batches), list(batches)
    assert same_objects(first, second)
    assert same_objects(first, kept)
    if form not in ("tensors", "list of unequal batches", "single precision"):
        batches, kept = held(FORMS[form](), batch_size=4, memory_budget=0)
        list(batches)
        assert kept == []


def test_widened_data_are_not_kept():
    for data in (
        (X.float(), Y),
        [(X.float(), Y)],
        TensorDataset(X.float(), Y),
        [PAIRS[0], (X.float()[7:], Y[7:])],
    ):
        batches, kept = held(data)
        for _ in range(2):
            assert all(x.dtype == torch.float64 for _, (x, _) in batches)
            assert kept == []


def test_passes_inside_each_other_have_all_pieces():
    batches, _ = held(PAIRS, microbatch=3)
    due = [X[:3], X[3:6], X[6:7], X[7:10], X[10:]]
    for _ in range(2):
        outer = []
        for _, (x, _) in batches:
            outer.append(x)
            inner = [other for _, (other, _) in batches]
            assert len(inner) == len(due)
            assert all(map(torch.equal, inner, due))
        assert len(outer) == len(due)
        assert all(map(torch.equal, outer, due))


def test_halves_have_pieces_of_their_own():
    batches, kept = held(PAIRS)
    assert len(list(batches)) == 2
    halves = batches.halved()
    assert halves._views == []
    sizes = [len(x) for _, (x, _) in halves]
    assert sizes == [3, 3, 1, 3, 1]
    assert len(halves._views) == 5
    assert len(kept) == len(list(batches)) == 2
    assert sum(weight for weight, _ in halves) == pytest.approx(1)


def test_a_sample_has_pieces_of_its_own():
    objective = Objective(mlp(), F.cross_entropy, PAIRS)
    list(objective.batches)
    part = objective.sample(5).batches
    assert part._views == []
    assert sum(len(x) for _, (x, _) in part) == 5
