"""Small trained models on real data, each with its Hessian by double backward, written without Thalweg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_wine
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.objective import Objective

Data = tuple[Tensor, Tensor]


class RowAttention(nn.Module):
    """An image's rows as tokens: one attention layer, layer norm, the mean token, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 10)
        self.attention = nn.MultiheadAttention(10, 2, batch_first=True)
        self.norm = nn.LayerNorm(10)
        self.head = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.head(self.norm(tokens + mixed).mean(1))


class RowRecurrence(nn.Module):
    """An image's rows as a sequence: a GRU and a linear head on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(13, 20), nn.GELU(), nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


@cache
def wine() -> Data:
    x, y = load_wine(return_X_y=True)
    x = torch.from_numpy((x - x.mean(0)) / x.std(0))
    return x, torch.from_numpy(y).long()


@cache
def digits() -> Data:
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x[:30] / 16.0).view(-1, 8, 8), torch.from_numpy(y[:30]).long()


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Data]]] = {
    "mlp": (mlp, wine),
    "convolutional": (convolutional, digits),
    "attention": (RowAttention, digits),
    "recurrent": (RowRecurrence, digits),
}


@dataclass(frozen=True)
class Case:
    """An objective, with the exact Hessian (n, n) at its point and the eigenvalues (n,) of it, descending."""

    objective: Objective
    hessian: Tensor
    eigenvalues: Tensor

    @property
    def norm(self) -> float:
        return float(self.eigenvalues.abs().max())


def trained(name: str, steps: int = 60) -> tuple[nn.Module, Data]:
    """The model after some steps of Adam, float64, and its data."""
    build, data = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().double()
    x, y = data()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model, (x, y)


@cache
def case(name: str) -> Case:
    model, (x, y) = trained(name)
    # In two batches of unequal size, as data sets come; in one where a product takes long.
    split = 20 if name in ("mlp", "convolutional") else len(x)
    batches = [(x[i], y[i]) for i in (slice(split), slice(split, None)) if len(x[i])]
    exact = dense_hessian(model, lambda output: F.cross_entropy(output, y), x)
    return Case(Objective(model, F.cross_entropy, batches), exact, torch.linalg.eigvalsh(exact).flip(0))


def dense_hessian(model: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Hessian of loss(model(x)) in all parameters, by double backward, the model in evaluation mode."""
    model.eval()
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    theta = torch.cat([p.detach().reshape(-1) for p in parameters.values()]).requires_grad_()
    pieces = [part.view(p.shape) for part, p in zip(theta.split(sizes), parameters.values(), strict=True)]
    # The fused kernels have no second derivative.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        value = loss(functional_call(model, dict(zip(parameters, pieces, strict=True)), (x,)))
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        rows = [
            torch.autograd.grad(slope, theta, some, retain_graph=True, is_grads_batched=True)[0]
            for some in torch.eye(len(theta), dtype=theta.dtype).split(64)
        ]
    model.train()
    exact = torch.cat(rows)
    return (exact + exact.T) / 2
