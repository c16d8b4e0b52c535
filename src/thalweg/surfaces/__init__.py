"""Analytic surfaces: objectives given by a formula, with what is known about their critical points."""

from thalweg.surfaces.classics import beale, booth, goldstein_price, himmelblau, six_hump_camel
from thalweg.surfaces.cliff import cliff
from thalweg.surfaces.critical_point import CriticalPoint
from thalweg.surfaces.goe import goe
from thalweg.surfaces.linear_network import linear_network
from thalweg.surfaces.multimodal import ackley, rastrigin, styblinski_tang
from thalweg.surfaces.plateau import plateau
from thalweg.surfaces.quadratic import quadratic
from thalweg.surfaces.quartic import quartic
from thalweg.surfaces.registry import get, names, register
from thalweg.surfaces.saddles import degenerate_saddle, monkey_saddle, strict_saddle
from thalweg.surfaces.surface import Surface
from thalweg.surfaces.valleys import parabolic_valley, ravine, rosenbrock

for _factory in (
    ackley,
    beale,
    booth,
    cliff,
    degenerate_saddle,
    goe,
    goldstein_price,
    himmelblau,
    linear_network,
    monkey_saddle,
    parabolic_valley,
    plateau,
    quadratic,
    quartic,
    rastrigin,
    ravine,
    rosenbrock,
    six_hump_camel,
    strict_saddle,
    styblinski_tang,
):
    register(_factory.__name__, _factory)

__all__ = [
    "CriticalPoint",
    "Surface",
    "ackley",
    "beale",
    "booth",
    "cliff",
    "degenerate_saddle",
    "get",
    "goe",
    "goldstein_price",
    "himmelblau",
    "linear_network",
    "monkey_saddle",
    "names",
    "parabolic_valley",
    "plateau",
    "quadratic",
    "quartic",
    "rastrigin",
    "ravine",
    "register",
    "rosenbrock",
    "six_hump_camel",
    "strict_saddle",
    "styblinski_tang",
]
