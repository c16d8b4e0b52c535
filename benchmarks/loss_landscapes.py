"""P3: 51 × 51 maps at 1 % error against the package loss-landscapes, on the example of its documentation and ResNet-14.

Of ResNet-14 its map takes half an hour: a smaller one is timed and scaled by the number of points.
"""

from __future__ import annotations

import copy
import importlib.util
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import thalweg as tw
from benchmarks.row import Row

RESOLUTION, RTOL = 51, 0.01
POINTS = RESOLUTION**2


class Small(nn.Module):
    """The network of its example, with its softmax before the cross-entropy: (b, 784) to (b, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(28 * 28, 32)
        self.linear_2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, 784) to shares of the classes (b, 10)."""
        return F.softmax(self.linear_2(F.relu(self.linear_1(x))), dim=1)


@dataclass(frozen=True)
class Example:
    """A trained network in evaluation mode, its start, and the batch that its loss is taken on."""

    name: str
    initial: nn.Module
    final: nn.Module
    x: Tensor
    y: Tensor

    def loss(self, model: nn.Module) -> tw.Objective:
        """The mean cross-entropy of the batch."""
        return tw.Objective(model, F.cross_entropy, (self.x, self.y))


def example(dtype: torch.dtype = torch.float32, epochs: int = 25) -> Example:
    """Its example, examples/core-features.ipynb, with scikit-learn's digits made as large as those of MNIST.

    As there: batches of 512 in order, 25 epochs of Adam at 0.01, the loss on the first batch. Pixels are from 0 to 1,
    for with values up to 255 the few batches leave all its units dead.
    """
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    small = torch.tensor(images, dtype=dtype).view(-1, 1, 8, 8)
    x = F.interpolate(small, size=(28, 28), mode="bilinear").flatten(1) / 16
    y = torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small().to(dtype)
    initial = copy.deepcopy(model).eval()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for batch in torch.arange(len(x)).split(512):
            adam.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            adam.step()
    return Example("MLP 784-32-10 of its example", initial, model.eval(), x[:512], y[:512])


def resnet(steps: int = 10) -> Example:
    """ResNet-14 on 512 random images, after some steps, for of zero biases it cannot scale filters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tw.problems.ResNet(14)
        x, y = torch.randn(512, 3, 32, 32), torch.randint(0, 10, (512,))
    initial = copy.deepcopy(model).eval()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        adam.zero_grad()
        F.cross_entropy(model(x[:128]), y[:128]).backward()
        adam.step()
    return Example("ResNet-14, 512 images", initial, model.eval(), x, y)


def their_plane(model: nn.Module, distance: float, steps: int, seed: int = 0) -> tw.landscape.Plane:
    """The plane of its random_plane(model, metric, distance, steps, "filter"), drawn from the same seed.

    It walks from -1 in `steps` steps of 2 / steps along both axes.
    """
    from loss_landscapes.model_interface.model_parameters import orthogonal_to, rand_u_like
    from loss_landscapes.model_interface.model_wrapper import wrap_model

    start = wrap_model(copy.deepcopy(model)).get_module_parameters()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        one = rand_u_like(start)
        drawn = one, orthogonal_to(one)
    directions = list[Tensor]()
    for direction in drawn:
        direction.filter_normalize_(start)
        direction.mul_(start.model_norm() / distance / steps / direction.model_norm())
        flat = torch.cat([piece.flatten() for piece in direction.parameters])
        directions.append(flat * (steps / 2))
    center = nn.utils.parameters_to_vector(model.parameters()).detach()
    return tw.landscape.Plane(
        center,
        torch.stack(directions, dim=1),
        ((-1.0, 1.0),) * 2,
        "random",
        ("random direction 1 of loss-landscapes", "random direction 2 of loss-landscapes"),
    )


def their_map(case: Example, distance: float, steps: int, seed: int = 0) -> np.ndarray:
    """Its map (steps, steps), as its example calls it."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    # Its annotation says integers, its documentation numbers.
    draw: Any = loss_landscapes.random_plane
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw(
            case.final,
            Loss(nn.CrossEntropyLoss(), case.x, case.y),
            distance,
            steps,
            normalization="filter",
            deepcopy_model=True,
        )


def compared(case: Example, distance: float, turns: int, steps: int, checked: int = POINTS) -> Iterator[Row]:
    """Its time for a map, from one of steps × steps points, over Thalweg's for the same plane, in turns.

    The error of Thalweg's map is looked at in up to `checked` of the points that it did not evaluate.
    """
    plane = their_plane(case.final, distance, RESOLUTION)
    objective = case.loss(case.final)
    theirs, ours = list[float](), list[float]()
    found = None
    for turn in range(2 * turns + 1):
        begun = time.perf_counter()
        if turn % 2:
            found = tw.landscape.evaluate(objective, plane, RESOLUTION, rtol=RTOL)
            ours.append(time.perf_counter() - begun)
        else:
            their_map(case, distance, steps)
            theirs.append((time.perf_counter() - begun) * POINTS / steps**2)
    assert found is not None
    peer, own = statistics.median(theirs), statistics.median(ours)
    what = f"51 × 51 map of {case.name}, up to {0.5 / distance:.3g} of the weights' length"
    scaled = "" if steps == RESOLUTION else f", scaled from {steps} × {steps} points"
    yield Row("P3", f"{what}: loss-landscapes, s{scaled}", peer, None)
    yield Row("P3", "the same to 1 %, Thalweg, s", own, None)
    yield Row("P3", "the second in shares of the first", own / peer, 1 / 6)
    yield Row("P3", "points evaluated", float(found.evaluated.sum()), None)
    if not found.evaluated.all():
        error = _true_error(objective, found, checked)
        yield Row("P3", "largest true error of Thalweg's map, in shares of the value", error, RTOL)


def _true_error(objective: tw.Objective, found: tw.landscape.Slice, checked: int) -> float:
    """The largest error in `checked` points of the map, drawn from those that were interpolated."""
    values, axes = found.values["loss"], list(found.axes.values())
    between = np.random.default_rng(0).permutation(np.argwhere(~found.evaluated))[:checked]
    errors = list[float]()
    with objective.evaluator(["loss"], POINTS) as loss:
        for i, j in between.tolist():
            exact = loss(found.plane.at([float(axes[0][i]), float(axes[1][j])]))["loss"]
            errors.append(abs(float(values[i, j]) - exact) / max(abs(exact), 1e-3 * float(np.ptp(values))))
    return max(errors)


def measure() -> list[Row]:
    if not importlib.util.find_spec("loss_landscapes"):
        return []
    # Its distance is the inverse of the side: 10 in its example, 0.5 as far as Thalweg's planes, then three times.
    case = example()
    rows = [row for distance in (10.0, 0.5, 1 / 6) for row in compared(case, distance, 5, RESOLUTION)]
    return rows + list(compared(resnet(), 0.5, 1, 4, 40))
