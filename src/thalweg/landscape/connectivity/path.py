"""A path between two points and the losses along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from thalweg.numbers import number, with_error

PathKind: TypeAlias = Literal["line", "bezier", "polygon"]


def weights(kind: PathKind, t: float, count: int) -> list[float]:
    """How much each of `count` control points counts at t in [0, 1]: their sum is 1.

    A Bezier curve has Bernstein's polynomials; a polygon runs from each to the next in equal parts of t.
    """
    degree = count - 1
    if kind == "bezier":
        return [comb(degree, j) * t**j * (1 - t) ** (degree - j) for j in range(count)]
    return [max(0.0, 1 - abs(t * degree - j)) for j in range(count)]


@dataclass(frozen=True)
class Path:
    """A path θ(t), t from 0 to 1, and what was evaluated on it.

    controls: (m, n) its control points, the two ends among them. t: (p,) ascending; values: by metric (p,) there.
    barrier: the most by which the loss rises above the straight line between the losses at the ends, at t = `at`; 0
    where it stays below. error: its standard error over the data as a sample, NaN where the loss does not split into
    samples. height: how far the highest point lies above the higher end.
    length: of the path over that of the straight line. evaluations: points evaluated; gradients: spent on bending it.
    batchnorm: which statistics batch-norm layers had, empty without any. limits: what it does not show.
    """

    kind: PathKind
    controls: Tensor = field(repr=False)
    t: Tensor
    values: dict[str, Tensor]
    barrier: float
    error: float
    at: float
    height: float
    length: float
    evaluations: int
    gradients: int = 0
    batchnorm: str = ""
    limits: tuple[str, ...] = ()

    @property
    def losses(self) -> Tensor:
        """The loss at each t, shape (p,), float64."""
        return self.values["loss"]

    def point(self, t: float) -> Tensor:
        """θ(t), shape (n,)."""
        return point(self.kind, self.controls, t)

    def __str__(self) -> str:
        name = {"line": "straight line", "bezier": "Bezier curve", "polygon": "polygon"}[self.kind]
        ends = f"losses {number(float(self.losses[0]))} and {number(float(self.losses[-1]))} at the ends"
        where = f" at t = {self.at:.2f}" if self.barrier else ""
        longer = (
            "" if self.kind == "line" else f", {number(self.length, 3)} times as long as the straight line"
        )
        return f"{name}: barrier {with_error(self.barrier, self.error)}{where}; {ends}{longer}"


def point(kind: PathKind, controls: Tensor, t: float) -> Tensor:
    """θ(t) (n,) of the path with these control points (m, n)."""
    shares = torch.tensor(weights(kind, t, len(controls)), dtype=controls.dtype, device=controls.device)
    return shares @ controls


def relative_length(kind: PathKind, controls: Tensor, pieces: int = 64) -> float:
    """Length of the path over the distance of its ends, from `pieces` chords; 1 where both ends are the same point."""
    ends = float((controls[-1] - controls[0]).norm())
    if kind == "line" or not ends:
        return 1.0
    total, before = 0.0, controls[0]
    for i in range(1, pieces + 1):
        here = point(kind, controls, i / pieces)
        total, before = total + float((here - before).norm()), here
    return total / ends


def as_controls(points: Sequence[Tensor]) -> Tensor:
    """The points (n,) each as rows (m, n)."""
    return torch.stack([p.detach() for p in points])
