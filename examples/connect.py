"""Two networks trained from different seeds: the hill between them, after matching their units, and a way around it.

python examples/connect.py
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import thalweg as tw

x, y = load_digits(return_X_y=True)
data = torch.tensor(x / 16).float(), torch.tensor(y)


def train(seed: int, steps: int = 300) -> nn.Sequential:
    """A small network, trained by Adam on batches of 128."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = tw.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = torch.randint(len(y), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(data[0][batch]), data[1][batch]).backward()
        optimizer.step()
    return model


def main(out: str = "runs/connect.png") -> None:
    a, b = train(seed=0), train(seed=1)
    obj = tw.Objective(a, F.cross_entropy, data)
    aligned = tw.landscape.align(a, b)
    # The same function as b: only the order of its units is another.
    paths = {
        "a to b": tw.landscape.interpolate(obj, a, b),
        "a to b, units matched": tw.landscape.interpolate(obj, a, aligned.model),
        "a to b, bent": tw.landscape.bezier_path(obj, a, b, steps=300),
    }
    for name, path in paths.items():
        print(f"{name}: {path}")
    with tw.plots.paper():
        axes = tw.plots.paths({name: (path.t, path.losses) for name, path in paths.items()}, ends=("a", "b"))
        axes.set_title("Two minima of one network")
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        axes.figure.savefig(out, dpi=130)
    print(f"Figure: {out}")


if __name__ == "__main__":
    main()
