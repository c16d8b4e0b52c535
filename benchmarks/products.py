"""P1: a Hessian-vector product over a data set, in gradients and against the peers, over 20 vectors at one point."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.curvature_models import Subject, subjects
from benchmarks.curvature_peers import peers
from benchmarks.row import Row

VECTORS = 20
PEERS_VECTORS = 4
"""Theirs are as dear each: they keep nothing of a point. PyHessian alone does, of a single batch."""
TURNS = 3


def seconds_each(linearize: Callable[[], Callable[[Tensor], object]], v: Tensor, vectors: int) -> float:
    """Time of one of several products at a point, what is done once there spread over them."""
    begun = time.perf_counter()
    product = linearize()
    for _ in range(vectors):
        product(v)
    return (time.perf_counter() - begun) / vectors


def measure_one(subject: Subject) -> Iterator[Row]:
    """A product's time, a gradient's and the peers' products' taken in turns."""
    objective = subject.objective
    theta, v = objective.point, torch.randn(objective.size)
    others = list(peers(subject.model, subject.data))
    expected = objective.hvp(v)
    for other in others:
        error = float((other.linearize()(v) - expected).norm() / expected.norm())
        if error > 1e-3:
            raise RuntimeError(f"{other.name}'s product differs by {error:.1e}: it is not the same Hessian")
    gradients: list[float] = []
    ours: list[float] = []
    theirs: dict[str, list[float]] = {other.name: [] for other in others}
    for _ in range(TURNS):
        begun = time.perf_counter()
        objective.gradient(theta)
        gradients.append(time.perf_counter() - begun)
        with objective.at(theta) as here:
            ours.append(seconds_each(lambda: here.hvp, v, VECTORS))
        for other in others:
            theirs[other.name].append(seconds_each(other.linearize, v, PEERS_VECTORS))
    gradient, product = statistics.median(gradients), statistics.median(ours)
    yield Row("P1", f"Hessian product in gradients, {subject.name}", product / gradient, subject.budget)
    times = {name: statistics.median(found) / product for name, found in theirs.items()}
    for name, ratio in times.items():
        yield Row("P1", f"the same, {name}'s in times Thalweg's", ratio, None)
    if times:
        fastest = min(times.values())
        yield Row("P1", "the same, Thalweg's in times the fastest peer's", 1 / fastest, 1 / subject.faster)


def measure() -> Iterator[Row]:
    # The scaled-dot-product attention that the peers' products can differentiate.
    with sdpa_kernel(SDPBackend.MATH):
        for subject in subjects():
            yield from measure_one(subject)
