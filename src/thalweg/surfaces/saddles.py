"""Saddles: one that a Hessian shows, and two that it does not."""

from __future__ import annotations

from torch import Tensor

from thalweg.surfaces.arguments import number
from thalweg.surfaces.surface import Surface


def strict_saddle(curvature: float = 1.0, *, bounded: bool = False) -> Surface:
    """½x² − ½λy² with λ = `curvature`: descent from y = 0 stays on the stable manifold and never escapes.

    `bounded` adds ¼y⁴, which puts minima at y = ±√λ with the value −λ²/4. The axes are aligned, so that
    round-off does not leave the stable manifold.

    Raises InvalidArgument for curvature ≤ 0.
    Source: R. Ge, F. Huang, C. Jin, Y. Yuan: Escaping from saddle points, COLT 2015.
    """
    c = number("curvature", curvature, above=0)

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        saddle = 0.5 * x**2 - 0.5 * c * y**2
        return saddle + 0.25 * y**4 if bounded else saddle

    root = c**0.5
    reach = max(2.0, 1.5 * root)
    return Surface(
        "strict_saddle",
        formula,
        [1.0, 0.01],
        domain=(-reach, reach),
        critical=[[0.0, root], [0.0, -root], [0.0, 0.0]] if bounded else [[0.0, 0.0]],
        complete=True,
        global_minimum=-(c**2) / 4 if bounded else None,
        parameters={"curvature": c, "bounded": bounded},
        equation=r"\tfrac12 x^2 - \tfrac{\lambda}{2} y^2" + (r" + \tfrac14 y^4" if bounded else ""),
        description="A saddle with a negative eigenvalue: noise or a negative-curvature step escapes it.",
        source="R. Ge, F. Huang, C. Jin, Y. Yuan, COLT 2015",
    )


def monkey_saddle() -> Surface:
    """x³ − 3xy²: three valleys meet at the origin, where the whole Hessian vanishes.

    Source: D. Hilbert, S. Cohn-Vossen: Geometry and the Imagination, 1952, section 28.
    """

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return x**3 - 3 * x * y**2

    return Surface(
        "monkey_saddle",
        formula,
        [0.5, 0.01],
        domain=(-1.5, 1.5),
        critical=[[0.0, 0.0]],
        complete=True,
        equation=r"x^3 - 3 x y^2",
        description="A saddle for two legs and a tail: the Hessian vanishes, only third derivatives show it.",
        source="D. Hilbert, S. Cohn-Vossen: Geometry and the Imagination, Chelsea, 1952, section 28",
    )


def degenerate_saddle() -> Surface:
    """½x² − ¼y⁴: the Hessian at the origin has the eigenvalues 1 and 0, as at a minimum, yet y leads down.

    Source: A. Anandkumar, R. Ge: Efficient approaches for escaping higher order saddle points, COLT 2016.
    """

    def formula(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        return 0.5 * x**2 - 0.25 * y**4

    return Surface(
        "degenerate_saddle",
        formula,
        [1.0, 0.1],
        domain=(-2.0, 2.0),
        critical=[[0.0, 0.0]],
        complete=True,
        equation=r"\tfrac12 x^2 - \tfrac14 y^4",
        description="A saddle whose Hessian has no negative eigenvalue: curvature alone calls it a minimum.",
        source="A. Anandkumar, R. Ge, COLT 2016",
    )
