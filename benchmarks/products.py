"""P1: a Hessian-vector product over a data set, in gradients, over 20 vectors at one point."""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from benchmarks.row import Row


def ratio(objective: tw.Objective, vectors: int = 20) -> float:
    """Time of a product, the graph's set-up spread over `vectors`, over that of a gradient taken in turns with it."""
    theta = objective.point
    v = torch.randn(objective.size)
    objective.gradient(theta)
    gradients, products = [], []
    for _ in range(3):
        begun = time.perf_counter()
        objective.gradient(theta)
        gradients.append(time.perf_counter() - begun)
        with objective.at(theta) as here:
            begun = time.perf_counter()
            for _ in range(vectors):
                here.hvp(v)
            products.append((time.perf_counter() - begun) / vectors)
    return statistics.median(products) / statistics.median(gradients)


def measure() -> list[Row]:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    small = tw.Objective(mlp, F.cross_entropy, (torch.randn(512, 64), torch.randint(0, 10, (512,))))
    images = torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))
    resnet = tw.Objective(tw.problems.ResNet(14), F.cross_entropy, images)
    text = "".join(chr(97 + int(c)) for c in torch.randint(0, 26, (1100,)))
    gpt = tw.problems.get("character_gpt", text=text, layers=4, width=128, heads=4, context=64)
    return [
        Row("P1", "Hessian product in gradients, MLP 64-256-256-10, 512 samples", ratio(small), 1.9),
        Row("P1", "the same, ResNet-14, 128 images", ratio(resnet), 2.3),
        Row("P1", "the same, GPT of 4 layers, width 128, context 64", ratio(gpt.train_objective()), 2.15),
    ]
