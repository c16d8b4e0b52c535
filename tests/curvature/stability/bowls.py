"""A quadratic bowl as a model of two parameters, and runs of optimizers on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curvature.spectra import rotated
from thalweg.objective import Objective

HESSIAN = rotated(torch.tensor([50.0, 20.0, 9.0, 5.0, 2.0]), seed=3)
SECOND = torch.tensor([4.0, 0.25, 1.0, 9.0, 0.04], dtype=torch.float64)
"""A second moment whose roots are 2, ½, 1, 3 and 1/5."""


class Bowl(nn.Module):
    """½θᵀHθ with θ = (first, second), small enough for a frozen second moment not to notice a thousandfold growth."""

    def __init__(self, hessian: Tensor = HESSIAN) -> None:
        super().__init__()
        self.hessian = hessian
        self.first = nn.Parameter(torch.full((2,), 1e-5, dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor([1e-5, -1e-5, 5e-6], dtype=torch.float64))

    def forward(self) -> Tensor:
        theta = torch.cat([self.first, self.second])
        return theta @ self.hessian @ theta / 2


def objective_of(model: nn.Module) -> Objective:
    data = [torch.zeros(1, dtype=torch.float64)]
    return Objective(model, data=data, batch_loss=lambda model, batch: model())


def run(model: Bowl, optimizer: torch.optim.Optimizer, steps: int = 400) -> float:
    """‖θ‖ after some steps over ‖θ‖ before; stopped where it has grown a thousandfold."""
    before = norm(model)
    for _ in range(steps):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
        if norm(model) > 1e3 * before:
            break
    return norm(model) / before


def norm(model: nn.Module) -> float:
    with torch.no_grad():
        return float(torch.cat([p.flatten() for p in model.parameters()]).norm())


def freeze(optimizer: torch.optim.Optimizer, entries: dict[str, Tensor], steps: float = 1e6) -> None:
    """Give an optimizer a state of five numbers for each name, as if after many steps; any other starts at zero."""
    start = 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            piece = slice(start, start + p.numel())
            held = {name: values[piece].clone() for name, values in entries.items()}
            optimizer.state[p] = {"step": torch.tensor(steps, dtype=torch.float64), **held}
            start += p.numel()
