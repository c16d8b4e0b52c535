"""Microbatches, and what happens when memory runs out."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.errors import InvalidArgument, OutOfMemory, ThalwegError
from thalweg.objective import Objective

from .test_objective import assert_same
from .zoo import ZOO, normal, seeded

X, Y = normal(11, 4), torch.arange(11) % 3

DEVICE = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
HOST = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
PYTHON = MemoryError()


class Limited(nn.Module):
    """Runs out of memory above `limit` samples, of which a graph counts `graph` times as much as none."""

    def __init__(self, limit=10**6, error=DEVICE, graph=1.0):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
        self.limit, self.error, self.graph = limit, error, graph

    def forward(self, x):
        if len(x) * (self.graph if torch.is_grad_enabled() else 1.0) > self.limit:
            raise self.error
        return self.body(x)


def make(limit=10**6, error=DEVICE, graph=1.0, **options):
    model = seeded(Limited(limit, error, graph))
    return Objective(model, F.cross_entropy, (X, Y), **options)


def evaluate(objective, theta):
    with objective.evaluator(["loss", "accuracy"]) as values:
        found = values(theta)
    return torch.tensor(list(found.values()), dtype=torch.float64)


QUANTITIES = {
    "loss": lambda o, t: o.loss(t),
    "gradient": lambda o, t: o.gradient(t),
    "hvp": lambda o, t: o.hvp(t, t),
    "ggnvp": lambda o, t: o.ggnvp(t, t),
    "evaluator": evaluate,
    "values": lambda o, t: torch.tensor(o.at(t).values(["accuracy", "gradient_norm"])["gradient_norm"]),
}


def theta_of(objective):
    return objective.point + 0.1 * normal(objective.size, seed=5)


@pytest.mark.parametrize("microbatch", [1, 2, 7, 11, 100])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_microbatches_change_nothing(quantity, microbatch):
    whole, split = make(), make(microbatch=microbatch, batch_size=8)
    theta = theta_of(whole)
    assert_same(QUANTITIES[quantity](split, theta), QUANTITIES[quantity](whole, theta))
    assert split.batches.largest == min(microbatch, 8)


@pytest.mark.parametrize(
    "name", ["gru", "own loss, outputs", "batch_loss, outputs", "batch-norm recalibrate"]
)
def test_microbatches_of_every_kind_of_batch(name):
    case = ZOO[name]()
    whole = Objective(case.model, **case.arguments)
    split = Objective(case.model, microbatch=1, **case.arguments)
    v = normal(whole.size)
    assert_same(split.loss(case.theta), whole.loss(case.theta))
    assert_same(split.hvp(v, case.theta), whole.hvp(v, case.theta))
    assert_same(split.ggnvp(v, case.theta), whole.ggnvp(v, case.theta))


@pytest.mark.parametrize("graph", [1.0, 2.5])
@pytest.mark.parametrize("error", [DEVICE, HOST, PYTHON], ids=["device", "host", "python"])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_batch_is_halved_until_it_fits(quantity, error, graph):
    whole, short = make(), make(limit=3, error=error, graph=graph)
    theta = theta_of(whole)
    assert_same(QUANTITIES[quantity](short, theta), QUANTITIES[quantity](whole, theta))
    # 11 samples, 5, 2; and 1 where a graph counts 2.5 times.
    sizes = [int(note.split(" from here on")[0].split()[-1]) for note in short.notes]
    derivatives = quantity not in ("loss", "evaluator")
    assert sizes == ([5, 2, 1] if graph > 1 and derivatives else [5, 2])
    assert all(note.startswith("memory ran out: evaluated in microbatches of") for note in short.notes)
    assert short.batches.largest == sizes[-1]


def test_products_at_one_point_go_on_when_memory_shrinks():
    objective, short = make(), make()
    theta = theta_of(objective)
    v = normal(objective.size, 2)
    with short.at(theta) as here:
        assert_same(here.hvp(v), objective.hvp(v, theta))
        assert_same(here.ggnvp(v), objective.ggnvp(v, theta))
        short.model.limit = 4
        # Halves the batches, so that the graphs of the whole ones no longer fit what is summed.
        assert_same(here.gradient(), objective.gradient(theta))
        for _ in range(2):
            assert_same(here.hvp(v), objective.hvp(v, theta))
            assert_same(here.ggnvp(v), objective.ggnvp(v, theta))
    assert short.batches.largest == 2


def test_the_evaluator_goes_on_when_memory_shrinks():
    objective = make()
    theta = theta_of(objective)
    wanted = float(make().loss(theta))
    with objective.evaluator() as values:
        values(theta)
        objective.model.limit = 4
        # Two sums of 11 numbers in another order.
        assert values(theta)["loss"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_one_sample_that_does_not_fit(quantity):
    objective = make(limit=0)
    with pytest.raises(
        OutOfMemory, match="memory ran out with 1 samples at once, and one sample does not fit"
    ) as e:
        QUANTITIES[quantity](objective, objective.point)
    assert isinstance(e.value, (ThalwegError, MemoryError))
    assert "\n" not in str(e.value)
    assert e.value.__cause__ is objective.model.error


@pytest.mark.parametrize("batchnorm", ["batch", "recalibrate"])
def test_batch_statistics_need_whole_batches(batchnorm):
    objective = make(limit=4, batchnorm=batchnorm, batch_size=6)
    with pytest.raises(
        OutOfMemory, match=f'6 samples at once, and batchnorm="{batchnorm}" needs whole batches'
    ):
        objective.at().gradient()
    for size in (1, 5):
        message = 'microbatch cannot be used with batchnorm="batch"'
        with pytest.raises(InvalidArgument, match=message):
            make(batchnorm="batch", microbatch=size, batch_size=6)
    make(batchnorm="batch", microbatch=6, batch_size=6).loss()


def test_recalibration_is_of_whole_batches_though_derivatives_are_not():
    whole = make(batchnorm="recalibrate", batch_size=6)
    split = make(batchnorm="recalibrate", batch_size=6, limit=6, graph=3.0)
    theta = theta_of(whole)
    assert_same(split.gradient(theta), whole.gradient(theta))
    assert split.batches.microbatch == 1


def test_other_runtime_errors_are_the_users_own():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    objective = make(error=error)
    objective.loss()
    objective.model.limit = 3
    with pytest.raises(RuntimeError) as raised:
        objective.gradient()
    assert raised.value is error
    assert objective.notes == []


def test_a_budget_bounds_the_graphs_that_are_kept():
    objective = make(batch_size=2)
    needed = objective.kept_bytes()
    assert needed > 0
    theta = objective.point
    wanted = objective.hvp(theta)
    for share, kept in ((0.0, 0), (0.5, 3), (1.01, 6)):
        bounded = make(batch_size=2, memory_budget=int(share * needed))
        with bounded.at() as here:
            assert_same(here.hvp(theta), wanted)
            assert_same(here.hvp(theta), wanted)
            assert len(here._kept) == pytest.approx(kept, abs=share == 0.5)
            assert here._held <= bounded.memory_budget
        assert not here._kept


class Saved:
    """A tensor that a graph saved; freed with the graph, unless a cycle keeps the graph alive."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_no_graph_outlives_its_point():
    alive = weakref.WeakSet()

    def pack(tensor):
        saved = Saved(tensor.detach())
        alive.add(saved)
        return saved

    objective = make()
    gc.collect()
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            with objective.at() as here:
                here.hvp(objective.point)
                here.ggnvp(objective.point)
                assert len(alive) > 0
            assert len(alive) == 0
            objective.gradient()
            assert len(alive) == 0
    finally:
        gc.enable()
