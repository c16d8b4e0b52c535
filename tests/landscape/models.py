"""Small models with every kind of parameter that a direction is scaled by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from thalweg.objective import Objective


class Mixed(nn.Module):
    """A convolution, batch-norm, an embedding and linear layers: images (b, 2, 5, 5) and a token each to 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.tokens = nn.Embedding(6, 4)
        self.head = nn.Linear(3 + 4, 4)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.convolution(images))).mean((2, 3))
        return self.head(torch.cat([features, self.tokens(tokens)], dim=1))


def seeded(build) -> nn.Module:
    """The float64 model that `build` gives with a fixed seed, the global random state left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double()


def mixed() -> Objective:
    """Mixed, in training mode, on 12 random samples in two batches of unequal size."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(12, 2, 5, 5, generator=draw, dtype=torch.float64)
    tokens = torch.randint(0, 6, (12,), generator=draw)
    labels = torch.randint(0, 4, (12,), generator=draw)
    batches = [(images[:7], tokens[:7], labels[:7]), (images[7:], tokens[7:], labels[7:])]
    return Objective(seeded(Mixed), F.cross_entropy, batches)


def cancer(count: int = 100) -> tuple[Tensor, Tensor]:
    """Breast-cancer data, standardized: (count, 30) and labels."""
    x, y = load_breast_cancer(return_X_y=True)
    x = torch.from_numpy((x - x.mean(0)) / x.std(0))
    return x[:count], torch.from_numpy(y[:count]).long()


def relu_network(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """30-8-6-2."""
    network = seeded(
        lambda: nn.Sequential(nn.Linear(30, 8), activation(), nn.Linear(8, 6), activation(), nn.Linear(6, 2))
    )
    assert isinstance(network, nn.Sequential)
    return network


def classifier(activation: type[nn.Module] = nn.ReLU) -> Objective:
    return Objective(relu_network(activation), F.cross_entropy, cancer())
