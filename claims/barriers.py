"""K50: barriers between trained networks of several widths, on the straight line and after matching their units.

`python -m claims.barriers` prints every pair.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

import thalweg as tw
from claims.finding import Finding

WIDTHS = (8, 32, 128, 512)
PAIRS = 3
STEPS = 200


@dataclass(frozen=True)
class Pair:
    """The barriers between two networks of one width, and the loss of the higher of the two."""

    width: int
    raw: float
    aligned: float
    loss: float


def pairs() -> Iterator[Pair]:
    """ReLU 20-w-10 on ten Gaussian clusters, full-batch Adam: the networks of the test of this claim."""
    draw = torch.Generator().manual_seed(0)
    centres, y = torch.randn(10, 20, generator=draw), torch.randint(10, (500,), generator=draw)
    x = centres[y] + torch.randn(500, 20, generator=draw)

    def trained(width: int, seed: int) -> tw.problems.MLP:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = tw.problems.MLP((20, width, 10))
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(STEPS):
            adam.zero_grad()
            F.cross_entropy(model(x), y).backward()
            adam.step()
        return model

    for width in WIDTHS:
        for pair in range(PAIRS):
            a, b = (trained(width, 2 * pair + k) for k in (0, 1))
            objective = tw.Objective(a, F.cross_entropy, (x, y))
            raw = tw.landscape.interpolate(objective, a, b)
            matched = tw.landscape.align(a, b, x=x).model
            aligned = tw.landscape.interpolate(objective, a, matched)
            yield Pair(width, raw.barrier, aligned.barrier, float(raw.losses[[0, -1]].max()))


def _means(table: list[Pair]) -> dict[int, tuple[float, float]]:
    """By width: the mean raw and aligned barrier."""
    return {
        width: tuple(np.mean([(p.raw, p.aligned) for p in table if p.width == width], axis=0).tolist())
        for width in WIDTHS
    }


def findings() -> Iterator[Finding]:
    """The means of the pairs, and the share that is left after matching."""
    before: float | None = None
    for width, (raw, aligned) in _means(list(pairs())).items():
        what = f"barrier between two ReLU 20-{width}-10, mean of {PAIRS} pairs (at most the last one)"
        yield Finding("K50", what, raw, most=before)
        yield Finding("K50", "the same after matching their units", aligned)
        what = "the second in shares of the first"
        yield Finding("K50", what, aligned / raw, most=0.2 if width >= 32 else None)
        before = raw


if __name__ == "__main__":
    begun = time.perf_counter()
    print("| width | raw | aligned | loss at the ends, at most |\n| --- | --- | --- | --- |")
    table = list[Pair]()
    for found in pairs():
        table.append(found)
        print(f"| {found.width} | {found.raw:.4g} | {found.aligned:.4g} | {found.loss:.2g} |", flush=True)
    for width, (raw, aligned) in _means(table).items():
        print(f"| {width}, mean | {raw:.4g} | {aligned:.4g} | |")
    print(f"\n{time.perf_counter() - begun:.0f} s")
