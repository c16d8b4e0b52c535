"""K18: networks whose hidden units are permuted have equal losses, and there are as many as factorials say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch

import thalweg as tw
from claims.finding import Finding

PROBLEMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("digits", {}),
    ("digits_conv", {}),
    ("deep_linear", {}),
    ("recurrent", {}),
    ("resnet", {"depth": 8}),
    ("character_gpt", {}),
)
SEEDS, SAMPLES = 3, 256


def findings() -> Iterator[Finding]:
    """Networks of the zoo at their initialization."""
    hidden = (64, 32)
    found = tw.landscape.equivalents(tw.problems.MLP((64, *hidden, 10)), torch.zeros(1, 64)).log10
    due = sum(math.lgamma(width + 1) for width in hidden) / math.log(10)
    yield Finding(
        "K18",
        "MLP 64-64-32-10: log10 of their number over that of 64! 32!",
        found / due,
        1 - 1e-12,
        1 + 1e-12,
    )
    for name, options in PROBLEMS:
        problem = tw.problems.get(name, **options)
        problem = dataclasses.replace(problem, train=tuple(part[:SAMPLES] for part in problem.train))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = problem.model()
        inputs = problem.train[0][:64]
        loss = problem.train_objective(model).loss()
        graph = tw.landscape.permutations(model, inputs)
        apart = 0.0
        for seed in range(SEEDS):
            twin = tw.landscape.permute(model, seed, graph=graph)
            apart = max(apart, abs(float(problem.train_objective(twin).loss() / loss) - 1))
        yield Finding(
            "K18", f"{name}: largest relative difference of {SEEDS} equivalents' losses", apart, most=1e-6
        )
        yield Finding(
            "K18", "log10 of the number of equivalents", tw.landscape.equivalents(model, inputs).log10
        )
