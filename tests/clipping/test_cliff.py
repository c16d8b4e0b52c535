"""CLAIMS K12: clipping tames cliffs, on a linear recurrent network."""

import math

import pytest
import torch
from torch import Tensor

from thalweg.clipping import NormClipper
from thalweg.problems.recurrent import adding_sequences

LENGTH = 60
WIDTH = 32


class LinearRecurrence:
    """h ← W h + U x over 60 steps, read out by v; W random with spectral radius 1."""

    def __init__(self, draw: torch.Generator) -> None:
        w = torch.randn(WIDTH, WIDTH, generator=draw)
        self.w = w / torch.linalg.eigvals(w).abs().max()
        self.u = torch.randn(WIDTH, 2, generator=draw) / math.sqrt(2)
        self.v = torch.randn(1, WIDTH, generator=draw) / math.sqrt(WIDTH)
        for p in self.parameters():
            p.requires_grad_()

    def parameters(self) -> list[Tensor]:
        return [self.w, self.u, self.v]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], WIDTH)
        for t in range(LENGTH):
            h = h @ self.w.T + x[:, t] @ self.u.T
        return (h @ self.v.T - y).square().mean()


def train(seed: int, c: float, steps: int) -> tuple[list[float], NormClipper]:
    draw = torch.Generator().manual_seed(seed)
    model = LinearRecurrence(draw)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    clipper = NormClipper(c, nonfinite="pass")
    clipper.attach(optimizer)
    losses: list[float] = []
    for _ in range(steps):
        loss = model.loss(*adding_sequences(32, LENGTH, draw))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 1e12:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, clipper


@pytest.mark.parametrize("seed", range(4))
def test_plain_diverges_and_clipped_trains(seed):
    plain, watched = train(seed, math.inf, 120)
    assert not plain[-1] < 1e12
    assert not any(r.clipped for r in watched.records)
    clipped, clipper = train(seed, 1.0, 120)
    assert len(clipped) == 120
    # Always answering with the mean costs the variance of the target, 1/6; the first losses are 10 and more.
    last = sum(clipped[-20:]) / 20
    assert last < 0.5
    assert last < 0.2 * clipped[0]
    assert all(r.cosine == 1 for r in clipper.records)
    assert any(r.clipped for r in clipper.records)
