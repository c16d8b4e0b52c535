"""Models with data, the arguments that make an Objective of them, and the same loss written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .oracle import Dense


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def classes(*shape: int, of: int, seed: int = 0) -> Tensor:
    return torch.randint(of, shape, generator=generator(seed))


def seeded(model: nn.Module, seed: int = 0, scale: float = 0.5) -> nn.Module:
    """The model in float64 with parameters and buffers that no call can leave unchanged by chance."""
    model.double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(scale * normal(*parameter.shape, seed=100 * seed + number))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * normal(*buffer.shape, seed=seed))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + normal(*buffer.shape, seed=seed).square())
    return model


def displaced(model: nn.Module, names: list[str] | None = None, seed: int = 7) -> Tensor:
    """A point near the model's own, of its trainable parameters or those named."""
    chosen = [p for n, p in model.named_parameters() if (n in names if names else p.requires_grad)]
    theta = torch.cat([p.detach().flatten() for p in chosen])
    return theta + 0.1 * normal(theta.numel(), seed=seed)


class Recurrent(nn.Module):
    """The last state of a recurrent layer, read by a linear one."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(2, 2, num_layers=2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class ScaledDotProduct(nn.Module):
    """Causal attention through `F.scaled_dot_product_attention`, two heads of two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(mixed.transpose(1, 2).flatten(2).mean(1))


class MultiHead(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    """`nn.TransformerEncoderLayer`, whose evaluation mode has a fused path of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.1, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Tied(nn.Module):
    """Next-token scores whose output head is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3)
        self.mix = nn.Linear(3, 3)
        self.head = nn.Linear(3, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.embedding(tokens))))


class OwnLoss(nn.Module):
    """A model that takes keywords and returns an object with `.loss` and `.logits`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Tied()

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
        logits = self.body(input_ids)
        loss = None if labels is None else token_cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits)


class Unused(nn.Module):
    """Holds a layer that its output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)
        self.used = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.used(x))


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def mlp() -> nn.Module:
    return seeded(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)))


def convolutional() -> nn.Module:
    return seeded(
        nn.Sequential(
            nn.Conv2d(1, 3, 2),
            nn.BatchNorm2d(3),
            nn.GELU(),
            nn.Dropout(0.4),
            nn.Conv2d(3, 2, 2),
            nn.BatchNorm2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
    )


@dataclass
class Case:
    """One objective: `arguments` make it, `batches` are its data as (share of the samples, batch)."""

    model: nn.Module
    arguments: dict[str, Any]
    batches: list[tuple[float, Any]]
    loss_of_batch: Callable[[nn.Module, Any], Tensor]
    output_of_batch: Callable[[nn.Module, Any], Tensor] | None = None
    loss_of_output: Callable[[Tensor, Any], Tensor] | None = None
    names: list[str] | None = None
    prepare: Callable[[nn.Module], None] | None = None
    theta: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.theta = displaced(self.model, self.names)

    def dense(self) -> Dense:
        sizes = []

        def outputs(model: nn.Module) -> Tensor:
            found = [self.output_of_batch(model, batch) for _, batch in self.batches]
            sizes[:] = [len(output) for output in found]
            return torch.cat(found)

        def output_loss(z: Tensor) -> Tensor:
            pieces = zip(z.split(sizes), self.batches, strict=True)
            return sum(share * self.loss_of_output(piece, batch) for piece, (share, batch) in pieces)

        return Dense(
            self.model,
            lambda model: sum(share * self.loss_of_batch(model, batch) for share, batch in self.batches),
            self.theta,
            names=self.names,
            outputs=outputs,
            output_loss=output_loss,
            prepare=self.prepare,
        )


def supervised(model: nn.Module, x: Tensor, y: Tensor, loss: Any = F.cross_entropy, **options: Any) -> Case:
    """A case of (x, y) that the oracle sees as one batch of all samples."""
    names, prepare = options.pop("names", None), options.pop("prepare", None)
    return Case(
        model,
        {"loss_fn": loss, "data": (x, y), "batch_size": 4, **options},
        [(1.0, (x, y))],
        lambda model, batch: loss(model(batch[0]), batch[1]),
        lambda model, batch: model(batch[0]),
        lambda z, batch: loss(z, batch[1]),
        names,
        prepare,
    )


X, Y = normal(11, 4), classes(11, of=3)
IMAGES = normal(11, 1, 4, 4, seed=1)
SEQUENCES = normal(5, 3, 2, seed=2)
TOKENS = normal(5, 3, 4, seed=3)
WORDS, NEXT = classes(7, 4, of=6), classes(7, 4, of=6, seed=1)


def batch_mode(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.training, module.track_running_stats = True, False


def cut(x: Tensor, y: Tensor, size: int) -> list[tuple[float, tuple[Tensor, Tensor]]]:
    return [
        (len(part) / len(x), (part, target))
        for part, target in zip(x.split(size), y.split(size), strict=True)
    ]


def reestimated(model: nn.Module) -> None:
    """Running statistics as the average over the batches of 4, 4 and 3, each by its share of the samples."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = [[torch.zeros_like(m.running_mean), torch.zeros_like(m.running_var)] for m in layers]
    for share, (x, _) in cut(IMAGES, Y, 4):
        for layer in layers:
            layer.training, layer.momentum = True, 1.0
        with torch.no_grad():
            model(x)
        for layer, (mean, var) in zip(layers, sums, strict=True):
            mean += share * layer.running_mean
            var += share * layer.running_var
    for layer, (mean, var) in zip(layers, sums, strict=True):
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(var)
        layer.training = False


def by_batch() -> Case:
    case = supervised(convolutional(), IMAGES, Y, batchnorm="batch", prepare=batch_mode)
    case.batches = cut(IMAGES, Y, 4)
    return case


def frozen() -> Case:
    model = mlp()
    model[0].requires_grad_(False)
    return supervised(model, X, Y)


def own_loss(with_outputs: bool) -> Case:
    words = {"input_ids": WORDS, "labels": NEXT}
    outputs = {"outputs": lambda model, batch: (model(batch["input_ids"]).logits, batch["labels"])}
    return Case(
        seeded(OwnLoss()),
        {"data": words, "batch_size": 3, **(outputs if with_outputs else {})},
        [(1.0, words)],
        lambda model, batch: model(**batch).loss,
        (lambda model, batch: model(**batch).logits) if with_outputs else None,
        lambda z, batch: token_cross_entropy(z, batch["labels"]),
    )


def written_loss() -> Case:
    batches = [{"a": X[:6], "b": X[:6, :3]}, {"a": X[6:], "b": X[6:, :3]}]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch["a"]) - batch["b"]).square().mean()

    return Case(
        mlp(),
        {
            "data": batches,
            "batch_loss": loss,
            "outputs": lambda model, batch: (model(batch["a"]), batch["b"]),
        },
        [(6 / 11, batches[0]), (5 / 11, batches[1])],
        loss,
        lambda model, batch: model(batch["a"]),
        lambda z, batch: (z - batch["b"]).square().mean(),
    )


def keyword_inputs() -> Case:
    case = supervised(
        seeded(OwnLoss()),
        WORDS,
        NEXT,
        token_cross_entropy,
    )
    case.arguments["data"] = ({"input_ids": WORDS}, NEXT)
    case.loss_of_batch = lambda model, batch: token_cross_entropy(model.body(batch[0]), batch[1])
    case.output_of_batch = lambda model, batch: model.body(batch[0])
    return case


ZOO: dict[str, Callable[[], Case]] = {
    "mlp": lambda: supervised(mlp(), X, Y),
    "linear in θ": lambda: supervised(seeded(nn.Linear(4, 2)), X, X[:, :2], F.mse_loss),
    "batch-norm eval, dropout": lambda: supervised(convolutional(), IMAGES, Y),
    "batch-norm batch": by_batch,
    "batch-norm recalibrate": lambda: supervised(
        convolutional(), IMAGES, Y, batchnorm="recalibrate", prepare=reestimated
    ),
    "gru": lambda: supervised(seeded(Recurrent(nn.GRU)), SEQUENCES, Y[:5]),
    "lstm": lambda: supervised(seeded(Recurrent(nn.LSTM)), SEQUENCES, Y[:5]),
    "scaled dot product": lambda: supervised(seeded(ScaledDotProduct()), TOKENS, Y[:5]),
    "multi-head attention": lambda: supervised(seeded(MultiHead()), TOKENS, Y[:5]),
    "transformer layer": lambda: supervised(seeded(Encoder()), TOKENS, Y[:5]),
    "tied embedding": lambda: supervised(seeded(Tied()), WORDS, NEXT, token_cross_entropy),
    "keyword inputs": keyword_inputs,
    "own loss": lambda: own_loss(False),
    "own loss, outputs": lambda: own_loss(True),
    "batch_loss, outputs": written_loss,
    "frozen layer": frozen,
    "name pattern": lambda: supervised(mlp(), X, Y, parameters="*.weight", names=["0.weight", "2.weight"]),
    "name patterns": lambda: supervised(
        mlp(), X, Y, parameters=["2.*", "0.bias"], names=["0.bias", "2.weight", "2.bias"]
    ),
    "predicate": lambda: supervised(
        mlp(), X, Y, parameters=lambda name, p: p.dim() == 1, names=["0.bias", "2.bias"]
    ),
    "unused layer": lambda: supervised(seeded(Unused()), X, Y),
    "only an unused layer": lambda: supervised(
        seeded(Unused()), X, Y, parameters="idle.*", names=["idle.weight", "idle.bias"]
    ),
}
