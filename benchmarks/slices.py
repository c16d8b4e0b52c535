"""P4: a dense slice of ResNet-14 on 512 images, per point, against a plain forward pass in the same run."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

import thalweg as tw
from benchmarks.row import Row
from benchmarks.timing import median_seconds

POINTS = 51 * 51


def measure() -> list[Row]:
    torch.manual_seed(0)
    model = tw.problems.ResNet(14).eval()
    x, y = torch.randn(512, 3, 32, 32), torch.randint(0, 10, (512,))
    objective = tw.Objective(model, F.cross_entropy, (x, y))
    plane = tw.landscape.random_plane(objective)
    thetas = [plane.at((0.01 * i, -0.01 * i)) for i in range(4)]

    @torch.no_grad()
    def plain() -> Tensor:
        return F.cross_entropy(model(x), y)

    with objective.evaluator(["loss"], POINTS, compile=False) as eager:
        points = iter(thetas * 10)
        eager(thetas[0])
        plain()
        forward, point = median_seconds([plain, lambda: eager(next(points))], 9)
    begun = time.perf_counter()
    with objective.evaluator(["loss"], POINTS, compile=True) as compiled:
        compiled(thetas[0])
        first = time.perf_counter() - begun
        points = iter(thetas * 10)
        (each,) = median_seconds([lambda: compiled(next(points))], 9)
    whole = (first + each * (POINTS - 1)) / POINTS
    return [
        Row(
            "P4",
            "slice point of ResNet-14, 512 images, in plain forward passes, eager",
            point / forward,
            1.05,
        ),
        Row("P4", "the same compiled, compile time spread over 51 × 51 points", whole / forward, 0.5),
        Row("P4", "compile time, s", first, None),
        Row("P4", "a plain forward pass, s", forward, None),
    ]
