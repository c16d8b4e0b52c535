"""Models, data and losses with the likelihood of each, in batches of unequal size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from tests.curvature.matrices.expectations import Likelihood, bits, classes, gaussian
from tests.objective.zoo import Recurrent, Tied, normal, seeded, token_cross_entropy
from tests.objective.zoo import classes as labels
from torch import Tensor, nn

N = 7
X, SEQUENCES = normal(N, 4), normal(N, 3, 4, seed=1)
IMAGES = normal(N, 1, 5, 5, seed=2)
WORDS = labels(N, 3, of=6, seed=3)
Y, REAL = labels(N, of=3, seed=4), normal(N, 3, seed=5)
# The middle batch of three ignores all of its targets.
SKIPPING = torch.tensor([0, 2, 1, -100, -100, -100, 1])
NEXT = labels(N, 3, of=6, seed=6)
MASKED = NEXT.where(normal(N, 3, seed=7) > -0.4, -100)
WEIGHTS = torch.tensor([0.2, 3.0, 1.3], dtype=torch.float64)
BITS = (REAL > 0).double()


def mlp(outputs: int = 3) -> nn.Module:
    return seeded(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, outputs)))


def pixels(outputs: int) -> nn.Module:
    """Scores for each of nine pixels, through a batch-norm layer."""
    return seeded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.Conv2d(2, outputs, 1)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(x, x, x)[0].mean(1))


@dataclass
class Case:
    model: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    loss: Any
    likelihood: Likelihood
    whole: Callable[[Tensor, Any], Tensor] | None = None
    """The mean loss over all data at once, where it is not the loss itself."""

    def mean_loss(self, output: Tensor) -> Tensor:
        return (self.whole or self.loss)(output, self.y)

    @property
    def data(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.x.split(3), self.y.split(3), strict=True))


def kept(target: Tensor) -> float:
    return float((target != -100).sum())


def one(label: Tensor) -> float:
    return float(label != -100)


def samples(_: Tensor) -> float:
    return float(N)


def numel(target: Tensor) -> float:
    return float(target.numel())


def nll(output: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(output.log_softmax(1), target, weight=WEIGHTS)


def per_sample(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: loss(output, target) / N


plain = classes(one, kept)
weighted = classes(lambda y: float(WEIGHTS[y]), lambda y: float(WEIGHTS[y].sum()))
tokens = classes(one, kept, axis=-1)

CASES: dict[str, Case] = {
    "cross-entropy": Case(mlp, X, Y, F.cross_entropy, plain),
    "cross-entropy that skips": Case(mlp, X, SKIPPING, F.cross_entropy, plain),
    "cross-entropy, sum": Case(
        mlp,
        X,
        Y,
        nn.CrossEntropyLoss(reduction="sum"),
        plain,
        per_sample(nn.CrossEntropyLoss(reduction="sum")),
    ),
    "cross-entropy, class weights": Case(mlp, X, Y, nn.CrossEntropyLoss(weight=WEIGHTS), weighted),
    "cross-entropy of attention": Case(lambda: seeded(Attention()), SEQUENCES, Y, F.cross_entropy, plain),
    "cross-entropy of a GRU": Case(
        lambda: seeded(Recurrent(nn.GRU)), SEQUENCES[..., :2], Y, F.cross_entropy, plain
    ),
    "cross-entropy of tokens, tied weights": Case(
        lambda: seeded(Tied()), WORDS, NEXT, token_cross_entropy, tokens
    ),
    "cross-entropy of pixels, batch norm": Case(
        lambda: pixels(3), IMAGES, labels(N, 3, 3, of=3, seed=8), F.cross_entropy, plain
    ),
    "log-softmax in the model": Case(
        lambda: nn.Sequential(*mlp(), nn.LogSoftmax(1)),
        X,
        Y,
        nn.NLLLoss(weight=WEIGHTS),
        classes(lambda y: float(WEIGHTS[y]), lambda y: float(WEIGHTS[y].sum()), logits=False),
    ),
    "log-softmax in the loss": Case(
        mlp,
        X,
        Y,
        lambda z, y: (WEIGHTS[y] * F.nll_loss(z.log_softmax(1), y, reduction="none")).mean(),
        classes(lambda y: float(WEIGHTS[y]), samples),
    ),
    "squared error": Case(mlp, X, REAL, F.mse_loss, gaussian(samples, lambda y: y.shape[-1] / 2)),
    "squared error, sum": Case(
        mlp,
        X,
        REAL,
        nn.MSELoss(reduction="sum"),
        gaussian(samples, lambda _: 0.5),
        per_sample(nn.MSELoss(reduction="sum")),
    ),
    "squared error of one number": Case(
        lambda: nn.Sequential(*mlp(1), nn.Flatten(0)),
        X,
        REAL[:, 0],
        nn.MSELoss(),
        gaussian(samples, lambda _: 0.5),
    ),
    "squared error of tokens": Case(
        mlp,
        SEQUENCES,
        normal(N, 3, 3, seed=9),
        nn.MSELoss(),
        gaussian(lambda y: y[..., 0].numel(), lambda _: 1.5),
    ),
    "squared error, written": Case(
        mlp,
        X,
        REAL,
        lambda z, y: (z - y).square().sum(1),
        gaussian(samples, lambda _: 0.5),
        lambda z, y: (z - y).square().sum() / N,
    ),
    "bits": Case(mlp, X, BITS, F.binary_cross_entropy_with_logits, bits(numel)),
    "bits, sum": Case(
        mlp,
        X,
        BITS,
        nn.BCEWithLogitsLoss(reduction="sum"),
        bits(samples),
        per_sample(nn.BCEWithLogitsLoss(reduction="sum")),
    ),
    "one bit": Case(lambda: mlp(1), X, BITS[:, :1], nn.BCEWithLogitsLoss(), bits(numel)),
    "bits, written": Case(mlp, X, BITS, lambda z, y: (F.softplus(z) - y * z).mean(), bits(numel)),
    "bits, weighted ones": Case(
        mlp, X, BITS, nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), bits(numel, pos_weight=WEIGHTS)
    ),
}
