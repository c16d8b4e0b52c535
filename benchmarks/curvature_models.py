"""The three models whose curvature is timed, each with its data: an MLP, a ResNet-14 and a small GPT."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw
from benchmarks.curvature_peers import Flat


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode, its batches (inputs, labels), and the objective made of them."""

    name: str
    model: nn.Module
    data: list[tuple[Tensor, Tensor]]
    objective: tw.Objective
    budget: float
    """P1: gradients a Hessian product may cost."""
    faster: float
    """P1: times it must be faster than the fastest peer."""


def subjects(trained: bool = False) -> list[Subject]:
    """The models at their initialization, or after fifty steps of Adam, where eigenvalues have separated.

    The data come in four equal batches: not every peer weighs unequal ones right.
    """
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    text = "".join(chr(97 + int(c)) for c in torch.randint(0, 26, (64 * 64 + 1,)))
    gpt = tw.problems.get("character_gpt", text=text, layers=4, width=128, heads=4, context=64)
    tokens = torch.randint(0, 26, (64, 64)), torch.randint(0, 26, (64, 64))
    found = [
        _subject("MLP 64-256-256-10, 2,048 samples", mlp, _labelled(2048, 64), 512, 1.9, 1.5),
        _subject("ResNet-14, 512 images", tw.problems.ResNet(14), _labelled(512, 3, 32, 32), 128, 2.3, 2.0),
        _subject(
            "GPT of 4 layers, width 128, 64 texts of 64", gpt.train_objective().model, tokens, 16, 2.15, 1.5
        ),
    ]
    if trained:
        for subject in found:
            _train(subject)
    return found


def _labelled(samples: int, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(samples, *shape), torch.randint(0, 10, (samples,))


def _subject(
    name: str, model: nn.Module, data: tuple[Tensor, Tensor], batch: int, budget: float, faster: float
) -> Subject:
    x, y = data
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    # Every position of a text is a sample to the peers: the weights of the batches are alike for all.
    objective = tw.Objective(Flat(model), F.cross_entropy, [(a, b.reshape(-1)) for a, b in batches])
    return Subject(name, model, batches, objective, budget, faster)


def _train(subject: Subject, steps: int = 50) -> None:
    optimizer = torch.optim.Adam(subject.model.parameters(), lr=1e-3)
    subject.model.train()
    for step in range(steps):
        x, y = subject.data[step % len(subject.data)]
        optimizer.zero_grad()
        output = subject.model(x)
        F.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1)).backward()
        optimizer.step()
    subject.model.eval()
