"""P3: 51 × 51 slices at 1 % error from part of their points, over trained networks, planes and spans.

`python -m benchmarks.adaptive` prints every map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import Tensor, nn

import thalweg as tw
from benchmarks.row import Row

DATA = {"wine": load_wine, "cancer": load_breast_cancer, "digits": load_digits}
NETWORKS = (
    ("wine", "relu", (32,), False),
    ("wine", "tanh", (32,), False),
    ("wine", "gelu", (32, 32), False),
    ("wine", "relu", (32,), True),
    ("cancer", "relu", (32,), False),
    ("cancer", "relu", (64, 64), False),
    ("cancer", "gelu", (32,), False),
    ("cancer", "tanh", (32,), True),
    ("digits", "relu", (32,), False),
    ("digits", "tanh", (32,), False),
    ("digits", "silu", (32, 32), False),
    ("digits", "gelu", (32,), True),
    ("digits", "relu", (32, 32), True),
    ("digits", "attention", (), False),
)
"""Data, activation, hidden layers, batch normalization."""
SPANS = (0.3, 1.0, 3.0)
RTOL = 0.01


class Attention(nn.Module):
    """The rows of an 8 × 8 image as eight tokens: one block of attention and MLP, then their mean."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(8, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixing, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, 64) to logits (b, 10)."""
        h = self.embed(x.view(-1, 8, 8)) + self.position
        q, k, v = self.mixing(self.norm1(h)).chunk(3, dim=-1)
        h = h + self.merge(torch.softmax(q @ k.mT / 4, dim=-1) @ v)
        h = h + self.down(F.gelu(self.up(self.norm2(h))))
        return self.head(h.mean(1))


@dataclass(frozen=True)
class Map:
    """One map: what it shows, its share of evaluated points, true and stated error."""

    name: str
    span: float
    smooth: bool
    share: float
    true: float
    stated: float


def trained(data: str, activation: str, hidden: tuple[int, ...], norm: bool, steps: int) -> tw.Objective:
    """A network after `steps` full-batch steps of Adam, on at most 1,000 standardized samples."""
    features, labels = map(np.asarray, DATA[data](return_X_y=True))
    spread = features.std(0)
    x = torch.tensor((features - features.mean(0)) / np.where(spread > 0, spread, 1), dtype=torch.float32)
    x, y = x[:1000], torch.tensor(labels)[:1000]
    torch.manual_seed(0)
    sizes = (x.shape[1], *hidden, int(y.max()) + 1)
    model = Attention() if activation == "attention" else tw.problems.MLP(sizes, activation, batchnorm=norm)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        adam.zero_grad()
        F.cross_entropy(model(x), y).backward()
        adam.step()
    return tw.Objective(model.eval(), F.cross_entropy, (x, y))


def maps(steps: int = 60) -> Iterator[Map]:
    """Each network along random filter-normalized directions and along eigenvectors, at each span."""
    for data, activation, hidden, norm in NETWORKS:
        objective = trained(data, activation, hidden, norm, steps)
        for plane in (tw.landscape.random_plane(objective), tw.landscape.eigen_plane(objective)):
            for span in SPANS:
                found = tw.landscape.evaluate(objective, plane, 51, span, RTOL)
                exact = tw.landscape.evaluate(objective, plane, 51, span, None).values["loss"]
                size = np.maximum(np.abs(exact), 1e-3 * np.ptp(exact))
                layers = "x".join(map(str, hidden))
                name = f"{data} {activation} {layers}{' batch-norm' if norm else ''}, {plane.kind}"
                yield Map(
                    name,
                    span,
                    activation != "relu" and span <= 1,
                    float(found.evaluated.mean()),
                    float(np.abs((found.values["loss"] - exact) / size).max()),
                    found.error,
                )


def measure() -> list[Row]:
    """Shares of points and of maps, over smooth networks up to the span 1 and over all maps."""
    table = [found for steps in (60, 200) for found in maps(steps)]
    smooth = [found.share for found in table if found.smooth]
    estimated = [found for found in table if found.stated > 0]
    broken = sum(found.true > found.stated for found in estimated) / len(estimated)
    everywhere = [found.share for found in table]
    return [
        Row("P3", "share of 51 × 51 points for 1 %, smooth networks, median", float(np.median(smooth)), 0.15),
        Row(
            "P3", "the same over all maps, with ReLU and up to the span 3", float(np.median(everywhere)), None
        ),
        Row("P3", "share of maps too rough, evaluated whole", 1 - len(estimated) / len(table), None),
        Row("P3", "share of the others whose true error exceeds the stated one", broken, 0.05),
        Row("P3", "largest true error of them", max(found.true for found in estimated), None),
    ]


if __name__ == "__main__":
    print("| map | span | points | true error | stated |\n| --- | --- | --- | --- | --- |")
    for steps in (60, 200):
        for found in maps(steps):
            print(
                f"| {found.name}, {steps} steps | {found.span:g} | {found.share * 51 * 51:.0f} "
                f"| {found.true:.2%} | {found.stated:.2%} |",
                flush=True,
            )
