"""K20: more parameters than outputs leave directions in which an interpolating network does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw
from claims.finding import Finding

SAMPLES, CLASSES = 20, 10


def findings() -> Iterator[Finding]:
    """MLP 64-10-10 fitted to 20 digits: by squares to rounding, by cross-entropy to a loss of 0.01."""
    x, y = tw.problems.get("digits").train
    x, y = x[:SAMPLES].double(), y[:SAMPLES]
    squares = F.one_hot(y, CLASSES).double()
    yield from _of("squares", F.mse_loss, (x, squares), SAMPLES * CLASSES)
    yield from _of("cross-entropy", F.cross_entropy, (x, y), SAMPLES * (CLASSES - 1))


def _of(
    name: str, loss: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor], bound: int
) -> Iterator[Finding]:
    objective = tw.Objective(_fitted(loss, data), loss, data)
    what = f"MLP 64-10-10, {objective.size} parameters, {SAMPLES} digits, {name}"
    yield Finding("K20", f"{what}: loss", float(objective.loss()))
    # Eigenvalues below this are rounding.
    rank = tw.landscape.zero_modes(objective, rtol=1e-13).rank
    yield Finding("K20", "rank of the Gauss-Newton matrix", rank, most=bound)
    walk = tw.landscape.flat_walk(objective, distance=0.1, steps=100)
    rise, straight = (float((losses - losses[0]).max()) for losses in (walk.losses, walk.straight))
    yield Finding("K20", "rise of the loss along a random line of a tenth of the weights' length", straight)
    yield Finding(
        "K20",
        "rise along a walk of that length through zero modes, in shares of it",
        rise / straight,
        most=0.01,
    )


def _fitted(loss: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor]) -> nn.Module:
    x, y = data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 10), nn.Tanh(), nn.Linear(10, CLASSES)).double()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    value = torch.tensor(1.0)
    while float(value.detach()) > 0.01:
        adam.zero_grad()
        value = loss(model(x), y)
        value.backward()
        adam.step()
    if loss is F.mse_loss:
        polish = torch.optim.LBFGS(
            model.parameters(),
            max_iter=5000,
            tolerance_grad=1e-14,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            polish.zero_grad()
            value = loss(model(x), y)
            value.backward()
            return value

        polish.step(closure)
    return model
