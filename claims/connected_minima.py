"""K19: between the minima of two seeds the straight line is high, and a Bezier curve stays low."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import thalweg as tw
from claims.finding import Finding
from claims.training import Trained, digits, resnet


def findings() -> Iterator[Finding]:
    """A wide MLP on digits, then a ResNet on the CIFAR-10 subset."""
    yield from _of("MLP 64-512-10 on digits", lambda seed: digits(seed, width=512), left=0.3)
    yield from _of(
        "ResNet-8 on 2,000 images of CIFAR-10",
        lambda seed: resnet(seed, epochs=60),
        left=None,
        batch_size=100,
    )


def _of(
    name: str, train: Callable[[int], Trained], left: float | None, batch_size: int | None = None
) -> Iterator[Finding]:
    """left: the most that alignment leaves of the barrier. batch_size: samples for each step of the curve."""
    a, b = train(0), train(1)
    objective = a.objective(len(a.data[0]), batch_size)
    line = tw.landscape.interpolate(objective, a.model, b.model)
    yield Finding("K19", f"{name}: barrier of the straight line", line.barrier, least=20 * line.error)
    yield Finding("K19", "higher loss of the two ends", float(line.losses[[0, -1]].max()))
    for method in ("weights", "activations"):
        matched = tw.landscape.align(a.model, b.model, method=method, x=a.data[0][:512]).model
        aligned = tw.landscape.interpolate(objective, a.model, matched)
        what = f"barrier after aligning by {method}, in shares of it"
        yield Finding("K19", what, aligned.barrier / line.barrier, most=left)
    curve = tw.landscape.bezier_path(objective, a.model, b.model)
    what = "height of a Bezier curve above the ends, in shares of the line's"
    yield Finding("K19", what, curve.height / line.height, most=0.05)
