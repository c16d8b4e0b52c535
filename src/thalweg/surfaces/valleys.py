"""Curved narrow valleys, where the way down is not the way to the minimum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.surfaces.arguments import number, whole
from thalweg.surfaces.surface import Surface


def rosenbrock(dim: int = 2, a: float = 1.0, b: float = 100.0) -> Surface:
    """Σᵢ b(xᵢ₊₁ − xᵢ²)² + (a − xᵢ)²: a valley along a parabola, with walls b times as steep as its floor.

    In two dimensions (a, a²) is the only critical point. In more, a must be 1; all ones is the global
    minimum, and from four dimensions on there are others.

    Raises InvalidArgument for dim < 2, b ≤ 0, or a ≠ 1 with dim > 2.
    Source: H. H. Rosenbrock: An automatic method for finding the greatest or least value of a function,
    Computer Journal 3, 1960.
    """
    whole("dim", dim, 2)
    a, b = number("a", a), number("b", b, above=0)
    if dim > 2 and a != 1:
        raise InvalidArgument(f"a must be 1 with dim > 2, where no minimum is known otherwise, got {a}")

    def formula(x: Tensor) -> Tensor:
        return (b * (x[1:] - x[:-1] ** 2) ** 2 + (a - x[:-1]) ** 2).sum(0)

    def residuals(x: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cat([math.sqrt(b) * (x[1:] - x[:-1] ** 2), a - x[:-1]])

    return Surface(
        "rosenbrock",
        formula,
        [-1.2 if i % 2 == 0 else 1.0 for i in range(dim)],
        domain=[(-2.0, 2.0)] * (dim - 1) + [(-1.0, 3.0)],
        critical=[[a, a**2]] if dim == 2 else [[1.0] * dim],
        complete=dim == 2,
        global_minimum=0.0,
        residuals=residuals,
        parameters={"dim": dim, "a": a, "b": b},
        equation=r"\sum_i b\,(x_{i+1} - x_i^2)^2 + (a - x_i)^2",
        description="A narrow valley along a parabola: easy to enter, slow to follow to its minimum.",
        source="H. H. Rosenbrock, Computer Journal 3, 1960, 175-184",
    )


def parabolic_valley() -> Surface:
    """½(x² − y)² + ½(x − 1)²: the lecture's bowl, a milder Rosenbrock valley, started at the origin.

    The only critical point is the minimum (1, 1).
    Source: K. P. Murphy: Machine Learning: A Probabilistic Perspective, 2012, section 8.3.2.
    """

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return 0.5 * (x**2 - y) ** 2 + 0.5 * (x - 1) ** 2

    def residuals(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return torch.stack([x**2 - y, x - 1])

    return Surface(
        "parabolic_valley",
        formula,
        [0.0, 0.0],
        domain=[(-0.5, 2.0), (-0.5, 3.0)],
        critical=[[1.0, 1.0]],
        complete=True,
        global_minimum=0.0,
        residuals=residuals,
        equation=r"\tfrac12 (x^2 - y)^2 + \tfrac12 (x - 1)^2",
        description="The lecture's curved bowl: gradient descent from the origin crawls or oscillates.",
        source="K. P. Murphy: Machine Learning: A Probabilistic Perspective, MIT Press, 2012, section 8.3.2",
    )


def ravine(steepness: float = 100.0) -> Surface:
    """½x² + ½·steepness·(y − sin x)²: a ravine that winds like a river, with its minimum at the origin.

    Walls are `steepness` times as curved as the floor. The origin is the only critical point.

    Raises InvalidArgument for steepness ≤ 0.
    Source: R. S. Sutton: Two problems with backpropagation and other steepest-descent learning procedures for
    networks, 1986, for why ravines slow gradient descent; the formula is this project's.
    """
    s = number("steepness", steepness, above=0)

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return 0.5 * x**2 + 0.5 * s * (y - torch.sin(x)) ** 2

    def residuals(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return torch.stack([x, math.sqrt(s) * (y - torch.sin(x))])

    return Surface(
        "ravine",
        formula,
        [-5.0, 2.0],
        domain=[(-6.0, 6.0), (-3.0, 3.0)],
        critical=[[0.0, 0.0]],
        complete=True,
        global_minimum=0.0,
        residuals=residuals,
        parameters={"steepness": s},
        equation=r"\tfrac12 x^2 + \tfrac{s}{2} (y - \sin x)^2",
        description="A winding ravine: plain descent bounces between its walls, momentum follows its floor.",
        source="after R. S. Sutton, Proc. 8th Annual Conference of the Cognitive Science Society, 1986",
    )
