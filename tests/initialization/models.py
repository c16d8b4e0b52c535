"""Small networks, written as users write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def chain(
    activation: Callable[[], nn.Module] | None, depth: int, width: int, outputs: int = 0, bias: bool = False
) -> nn.Sequential:
    """`depth` layers of equal width, each with the activation, and a head when outputs > 0."""
    modules: list[nn.Module] = []
    for _ in range(depth):
        modules.append(nn.Linear(width, width, bias=bias))
        if activation is not None:
            modules.append(activation())
    if outputs:
        modules.append(nn.Linear(width, outputs, bias=bias))
    return nn.Sequential(*modules)


class Functional(nn.Module):
    """Activations as functions, methods and formulas; a norm in between; a bare matrix; packed projections."""

    def __init__(self) -> None:
        super().__init__()
        self.leaky = nn.Linear(5, 6)
        self.written_gelu = nn.Linear(6, 7)
        self.matrix = nn.Parameter(torch.randn(7, 3))
        self.bias = nn.Parameter(torch.ones(3))
        self.normed = nn.Linear(3, 12)
        self.packed = nn.Linear(12, 9)
        self.clamped = nn.Linear(3, 4)
        self.squashed = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.leaky(x), 0.3)
        h = self.written_gelu(h)
        h = 0.5 * h * (1 + torch.tanh(0.7979 * (h + 0.044715 * h**3)))
        h = h @ self.matrix + self.bias
        h = h * torch.sigmoid(h)
        h = F.layer_norm(self.normed(h), (12,)).relu_()
        a, b, c = self.packed(h).chunk(3, dim=-1)
        h = self.clamped(a + b * 0.5 - c).clamp(min=0)
        return self.head(torch.tanh(self.squashed(h)))


class Branches(nn.Module):
    """h + scale · W₂ relu(W₁ h), `blocks` times."""

    def __init__(self, blocks: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.inner = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))

    def forward(self, h: Tensor) -> Tensor:
        for inner, outer in zip(self.inner, self.outer, strict=True):
            branch = outer(torch.relu(inner(h)))
            h = h + (branch if self.scale == 1 else self.scale * branch)
        return h


class LinearRecurrence(nn.Module):
    """One matrix applied `steps` times."""

    def __init__(self, matrix: Tensor, steps: int) -> None:
        super().__init__()
        self.step = nn.Linear(*matrix.shape, bias=False, dtype=matrix.dtype)
        self.steps = steps
        with torch.no_grad():
            self.step.weight.copy_(matrix)

    def forward(self, h: Tensor) -> Tensor:
        for _ in range(self.steps):
            h = self.step(h)
        return h


class Bottleneck(nn.Module):
    """A residual block whose shortcut is projected, as where channels change, without normalization."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + self.shortcut(x), inplace=True)


class ParallelBlock(nn.Module):
    """Attention and perceptron side by side on one stream, as in GPT-J."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return x + self.attention(h, h, h, need_weights=False)[0] + self.down(F.gelu(self.up(h)))


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a call must leave as it was."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = model.state_dict()
    return all(torch.equal(after[name], tensor) for name, tensor in before.items())
