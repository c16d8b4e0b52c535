"""Two-dimensional polynomial test functions of optimization, every critical point known.

Where two polynomial equations of degrees p and q meet in finitely many points there are at most pq of them
(Bézout): a list of that length is complete.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.surfaces.critical_point import refined
from thalweg.surfaces.surface import Surface

SURVEY = "M. Jamil, X.-S. Yang: A literature survey of benchmark functions, 2013, arXiv:1308.4008"


def himmelblau() -> Surface:
    """(x² + y − 11)² + (x + y² − 7)²: four minima of value 0, four saddles and a maximum (3 · 3, complete).

    Source: D. M. Himmelblau: Applied Nonlinear Programming, 1972.
    """

    def residuals(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return math.sqrt(2) * torch.stack([x**2 + y - 11, x + y**2 - 7])

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    minima = [[3.0, 2.0], [3.58443, -1.84813], [-3.77931, -3.28319], [-2.80512, 3.13131]]
    saddles = [[3.38515, 0.07385], [0.08668, 2.88425], [-3.07303, -0.08135], [-0.12796, -1.95371]]
    return Surface(
        "himmelblau",
        formula,
        [0.0, 0.0],
        critical=[*minima, *saddles, [-0.27084, -0.92304]],
        complete=True,
        global_minimum=0.0,
        residuals=residuals,
        equation=r"(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
        description="Four equally deep minima around a hill: which one is reached depends on the start.",
        source="D. M. Himmelblau: Applied Nonlinear Programming, McGraw-Hill, 1972",
    )


def beale() -> Surface:
    """Σₖ (cₖ − x + xyᵏ)² with c = (1.5, 2.25, 2.625), k = 1, 2, 3: minimum (3, ½), and two saddles.

    For x ≠ 0 the first equation gives x, and y is a real root of a polynomial in one variable, of which ½ and
    −2.64… are all; for x = 0 only y = 1 is left.
    Source: E. M. L. Beale: On an iterative method for finding a local minimum, Princeton, 1958.
    """

    def terms(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return torch.stack([1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3])

    return Surface(
        "beale",
        lambda p: (terms(p) ** 2).sum(0),
        [1.0, 1.0],
        domain=(-4.5, 4.5),
        critical=[[3.0, 0.5], [0.0, 1.0], [0.10054, -2.64451]],
        complete=True,
        global_minimum=0.0,
        residuals=lambda p: math.sqrt(2) * terms(p),
        equation=r"(1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2",
        description="A flat floor with steep corners, and a valley that leads away to infinity.",
        source=SURVEY,
    )


def booth() -> Surface:
    """(x + 2y − 7)² + (2x + y − 5)²: a quadratic with condition number 9 and its minimum at (1, 3).

    Source: M. Jamil, X.-S. Yang: A literature survey of benchmark functions, 2013.
    """

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2

    def residuals(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return math.sqrt(2) * torch.stack([x + 2 * y - 7, 2 * x + y - 5])

    return Surface(
        "booth",
        formula,
        [-5.0, 5.0],
        domain=(-10.0, 10.0),
        critical=[[1.0, 3.0]],
        complete=True,
        global_minimum=0.0,
        residuals=residuals,
        equation=r"(x + 2y - 7)^2 + (2x + y - 5)^2",
        description="A mild quadratic bowl with diagonal axes.",
        source=SURVEY,
    )


def six_hump_camel() -> Surface:
    """(4 − 2.1x² + x⁴/3)x² + xy + (−4 + 4y²)y²: six minima, two of them global (5 · 3 points, complete).

    Source: L. C. W. Dixon, G. P. Szegő: Towards Global Optimisation 2, 1978.
    """

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (-4 + 4 * y**2) * y**2

    minima = [[0.08984, -0.71266], [1.70361, -0.79608], [1.6071, 0.56865]]
    others = [[-1.10921, 0.76827], [1.63807, 0.22867], [1.29607, 0.60508], [1.23023, 0.16233]]
    pairs = [[sign * x, sign * y] for x, y in [*minima, *others] for sign in (1, -1)]
    bottom = refined(formula, torch.tensor(minima[:1], dtype=torch.float64))
    return Surface(
        "six_hump_camel",
        formula,
        [0.5, 1.0],
        domain=[(-2.0, 2.0), (-1.1, 1.1)],
        critical=[*pairs, [0.0, 0.0]],
        complete=True,
        global_minimum=float(formula(bottom[0])),
        equation=r"\left(4 - 2.1x^2 + \tfrac{x^4}{3}\right)x^2 + xy + (-4 + 4y^2)\,y^2",
        description="Six minima of three depths, in pairs: a map of basins with structure.",
        source="L. C. W. Dixon, G. P. Szegő: Towards Global Optimisation 2, North-Holland, 1978",
    )


def goldstein_price() -> Surface:
    """The Goldstein-Price function: minimum 3 at (0, −1), three others, and values up to 10⁶ nearby.

    It is A(u)B(v) with u = x + y, v = 2x − 3y and A, B > 0; A′ vanishes at −1, 1, 2 and B′ at 0, 1, 3, so
    that the nine pairs are all critical points.
    Source: A. A. Goldstein, J. F. Price: On descent from local minima, Mathematics of Computation 25, 1971.
    """

    def formula(p: Tensor) -> Tensor:
        u, v = p[0] + p[1], 2 * p[0] - 3 * p[1]
        a = 1 + (u + 1) ** 2 * (19 - 14 * u + 3 * u**2)
        b = 30 + v**2 * (18 - 16 * v + 3 * v**2)
        return a * b

    # A and B have their minima at the outer roots, (−1, 2) and (0, 3), and a maximum between.
    minima = [(-1, 3), (-1, 0), (2, 3), (2, 0)]
    others = [(1, 3), (1, 0), (-1, 1), (2, 1), (1, 1)]
    return Surface(
        "goldstein_price",
        formula,
        [1.0, -0.5],
        domain=(-2.0, 2.0),
        critical=[[(3 * u + v) / 5, (2 * u - v) / 5] for u, v in [*minima, *others]],
        complete=True,
        global_minimum=3.0,
        equation=r"\left[1 + (u+1)^2 (19 - 14u + 3u^2)\right]\left[30 + v^2 (18 - 16v + 3v^2)\right],"
        r"\; u = x + y,\; v = 2x - 3y",
        description="Values over six orders of magnitude: bad scaling in its plainest form.",
        source="A. A. Goldstein, J. F. Price, Mathematics of Computation 25, 1971, 569-574",
    )
