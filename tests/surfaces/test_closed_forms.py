"""Every closed form against SymPy: the formulas here are written from their sources, not from the code."""

from __future__ import annotations

from typing import Any

import pytest
import sympy as sp
import torch

from thalweg import surfaces
from thalweg.surfaces import Surface

Case = tuple[Surface, Any]
X = sp.symbols("x1:9", real=True)
x, y = X[:2]
R = sp.Rational


def turned(kappa: int, degrees: int, cx: int, cy: int) -> sp.Expr:
    angle = sp.pi * degrees / 180
    along = sp.cos(angle) * (x - cx) + sp.sin(angle) * (y - cy)
    across = -sp.sin(angle) * (x - cx) + sp.cos(angle) * (y - cy)
    return along**2 / 2 + kappa * across**2 / 2


def sigmoid_neuron() -> sp.Expr:
    inputs = [R(k, 2) for k in range(-4, 5)]

    def sigmoid(z: sp.Expr) -> sp.Expr:
        return 1 / (1 + sp.exp(-z))

    return sum((sigmoid(x * t + y) - sp.N(sigmoid(3 * t + 1), 30)) ** 2 for t in inputs) / 18


def recurrence(steps: int, h0: sp.Expr, target: sp.Expr) -> sp.Expr:
    return (x**steps * h0 + y * sum(x**k for k in range(steps)) - target) ** 2 / 2


def two_layers() -> sp.Expr:
    first, second = sp.Matrix(2, 2, X[:4]), sp.Matrix(1, 2, X[4:6])
    inputs, outputs = sp.Matrix([[1, 2, -1], [0, 1, 3]]), sp.Matrix([[1, -1, 2]])
    misfit = second * first * inputs - outputs
    return (misfit * misfit.T)[0] / 6


NETWORK_DATA = (
    torch.tensor([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]]),
    torch.tensor([[1.0, -1.0, 2.0]]),
)

CASES: list[Case] = [
    (surfaces.quartic(), x**4 - 2 * x**2 + x / 2),
    (surfaces.parabolic_valley(), (x**2 - y) ** 2 / 2 + (x - 1) ** 2 / 2),
    (surfaces.rosenbrock(), 100 * (y - x**2) ** 2 + (1 - x) ** 2),
    (surfaces.rosenbrock(a=2, b=5), 5 * (y - x**2) ** 2 + (2 - x) ** 2),
    (surfaces.rosenbrock(3), sum(100 * (q - p**2) ** 2 + (1 - p) ** 2 for p, q in [X[:2], X[1:3]])),
    (surfaces.ravine(40), x**2 / 2 + 20 * (y - sp.sin(x)) ** 2),
    (surfaces.himmelblau(), (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
    (
        surfaces.beale(),
        (R(3, 2) - x + x * y) ** 2 + (R(9, 4) - x + x * y**2) ** 2 + (R(21, 8) - x + x * y**3) ** 2,
    ),
    (surfaces.booth(), (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2),
    (surfaces.six_hump_camel(), 4 * x**2 - R(21, 10) * x**4 + x**6 / 3 + x * y - 4 * y**2 + 4 * y**4),
    (
        surfaces.goldstein_price(),
        (1 + (x + y + 1) ** 2 * (19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2))
        * (30 + (2 * x - 3 * y) ** 2 * (18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2)),
    ),
    (surfaces.styblinski_tang(3), sum(t**4 - 16 * t**2 + 5 * t for t in X[:3]) / 2),
    (surfaces.rastrigin(3), 30 + sum(t**2 - 10 * sp.cos(2 * sp.pi * t) for t in X[:3])),
    (
        surfaces.ackley(3),
        -20 * sp.exp(-R(1, 5) * sp.sqrt(sum(t**2 for t in X[:3]) / 3))
        - sp.exp(sum(sp.cos(2 * sp.pi * t) for t in X[:3]) / 3)
        + 20
        + sp.E,
    ),
    (surfaces.strict_saddle(3), x**2 / 2 - 3 * y**2 / 2),
    (surfaces.strict_saddle(bounded=True), x**2 / 2 - y**2 / 2 + y**4 / 4),
    (surfaces.monkey_saddle(), sp.re(sp.expand((x + sp.I * y) ** 3))),
    (surfaces.degenerate_saddle(), x**2 / 2 - y**4 / 4),
    (surfaces.plateau(), sigmoid_neuron()),
    (surfaces.cliff(6, initial=0.25, target=2), recurrence(6, R(1, 4), sp.Integer(2))),
    (surfaces.quadratic(16, 3), x**2 / 2 + 2 * y**2 + 8 * X[2] ** 2),
    (surfaces.quadratic(16, 1), 8 * x**2),
    (surfaces.quadratic(9, rotation=30, center=[1, -2]), turned(9, 30, 1, -2)),
    (surfaces.linear_network(2, (2, 2, 1), data=NETWORK_DATA), two_layers()),
]


@pytest.mark.parametrize(("surface", "expression"), CASES, ids=[repr(surface)[:40] for surface, _ in CASES])
def test_loss_gradient_and_hessian(surface, expression, scattered):
    variables = X[: surface.size]
    points = scattered(surface, 6)
    quantities = [
        (surface.loss, expression),
        (surface.gradient, [sp.diff(expression, v) for v in variables]),
        (surface.hessian, [[sp.diff(expression, v, w) for w in variables] for v in variables]),
    ]
    for computed, symbolic in quantities:
        exact = sp.lambdify(variables, symbolic, "math")
        reference = torch.stack([torch.tensor(exact(*p), dtype=torch.float64) for p in points.tolist()])
        # About a hundred operations round by eps of their largest term each: 2e-14; some cancel.
        scale = float(reference.abs().max())
        torch.testing.assert_close(computed(points), reference, rtol=0, atol=1e-12 * scale)
