"""The communication hook in DistributedDataParallel of one rank, and with a second rank that is imitated."""

from __future__ import annotations

import sys
import threading

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from thalweg.curvature.noise import data_parallel
from thalweg.curvature.noise.data_parallel import RankNorms, rank_norms
from thalweg.curvature.noise.online import OnlineNoiseScale


class Listener(OnlineNoiseScale):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__(4, 8)
        self.heard = []

    def update(self, small_norm, big_norm, **sizes):
        self.heard.append((small_norm, big_norm))


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without its distributed package")
@pytest.mark.usefixtures("alone")
def test_gradients_of_one_rank_are_left_as_they_are():
    model = nn.Sequential(nn.Linear(3, 50), nn.Linear(50, 2))
    # Small buckets, so that there are several.
    parallel = DistributedDataParallel(model, bucket_cap_mb=1e-4)
    norms = RankNorms(Listener())
    parallel.register_comm_hook(norms, rank_norms)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for factor in (1.0, 2.0):
        model.zero_grad()
        (factor * parallel(x).square().mean()).backward()
        found = [p.grad.clone() for p in model.parameters()]
        norms.update()
        plain = torch.autograd.grad(factor * model(x).square().mean(), list(model.parameters()))
        for mine, theirs in zip(found, plain, strict=True):
            torch.testing.assert_close(mine, theirs)
    norms.update()
    square = float(sum(g.square().sum() for g in plain))
    heard = norms.meter.heard
    assert len(heard) == 2
    assert heard[1] == pytest.approx((square, square), rel=1e-5)
    assert heard[0][0] == pytest.approx(square / 4, rel=1e-5)


def test_two_ranks(monkeypatch):
    mine, theirs = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])

    class Bucket:
        def buffer(self):
            return mine

        def index(self):
            return 0

    class Done:
        def get_future(self):
            future = torch.futures.Future()
            future.set_result([mine])
            return future

    def all_reduce(tensor, group=None, async_op=False):
        # The other rank has divided by the number of ranks, or has the square of its own norm.
        tensor += theirs / 2 if tensor is mine else theirs.square().sum()
        return Done() if async_op else None

    monkeypatch.setattr(data_parallel.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(data_parallel.dist, "get_world_size", lambda group=None: 2)
    norms = RankNorms(Listener())
    mean = rank_norms(norms, Bucket()).wait()
    norms.update()
    assert mean.tolist() == [2.0, 2.0]
    assert norms.meter.heard == [pytest.approx(((25 + 1) / 2, 8.0), rel=1e-6)]


def test_no_bucket_is_lost_when_many_are_averaged_at_once(monkeypatch):
    """Averages come back on threads of the process group: here two at once, each of 2,000 buckets of norm 1."""
    pending = []

    class Bucket:
        def __init__(self, place):
            self.place = place

        def buffer(self):
            return torch.ones(1)

        def index(self):
            return self.place

    class Work:
        def get_future(self):
            pending.append(torch.futures.Future())
            return pending[-1]

    monkeypatch.setattr(data_parallel.dist, "all_reduce", lambda *_, async_op=False, **__: Work())
    monkeypatch.setattr(data_parallel.dist, "get_world_size", lambda group=None: 1)
    norms = RankNorms(Listener())
    for place in range(4000):
        rank_norms(norms, Bucket(place))

    def arrive(futures):
        for future in futures:
            future.set_result([torch.ones(1)])

    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=arrive, args=(pending[start::2],)) for start in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(often)
    norms.update()
    assert norms.meter.heard == [(4000.0, 4000.0)]
