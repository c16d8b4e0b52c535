"""K15: two principal directions hold most of a training run's path, random planes next to nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import thalweg as tw
from claims.finding import Finding
from claims.training import Trained, digits, resnet

PLANES = 10


def findings() -> Iterator[Finding]:
    """On digits, then on the CIFAR-10 subset."""
    yield from _of("MLP 64-64-10 on digits", digits)
    yield from _of("ResNet-8 on 2,000 images of CIFAR-10", resnet)


def _of(name: str, train: Callable[[int], Trained]) -> Iterator[Finding]:
    trained = train(0)
    objective, path = trained.objective(), trained.path
    plane = tw.landscape.trajectory_plane(objective, path)
    explained, walk = (float(plane.facts[key]) for key in ("variance_explained", "random_walk_explains"))
    yield Finding("K15", f"{name}: share of the path in its plane ({len(path)} points)", explained, least=0.8)
    yield Finding("K15", "the same of a random walk", walk)
    random = max(_share(path, seed) for seed in range(PLANES))
    yield Finding("K15", f"share in the best of {PLANES} random planes", random, most=0.01)
    fit = tw.landscape.fitting_error(objective, plane, path)
    factors = (fit.losses / fit.projected).log().abs().exp()
    yield Finding(
        "K15", "loss of the run over that of its shadow in the plane: median factor", float(factors.median())
    )
    yield Finding("K15", "the same: largest factor", float(factors.max()))


def _share(path: list[Tensor], seed: int) -> float:
    """Share of the path's squared distance from its end that lies in a random plane."""
    offsets = torch.stack(path[:-1]) - path[-1]
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(offsets.shape[1], 2, generator=draw))[0]
    return float((offsets @ basis).square().sum() / offsets.square().sum())
