from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from thalweg import surfaces
from thalweg.surfaces import Surface

MORE: dict[str, Callable[[], Surface]] = {
    "quartic in one dimension": surfaces.quartic,
    "quadratic turned": lambda: surfaces.quadratic(30, rotation=25, center=[1.0, -2.0]),
    "quadratic random": lambda: surfaces.quadratic(1000, 5, seed=3),
    "quadratic indefinite": lambda: surfaces.quadratic(eigenvalues=[3.0, -1.0, 0.5]),
    "rosenbrock 4": lambda: surfaces.rosenbrock(4),
    "styblinski_tang 3": lambda: surfaces.styblinski_tang(3),
    "rastrigin 3": lambda: surfaces.rastrigin(3),
    "ackley 3": lambda: surfaces.ackley(3),
    "saddle bounded": lambda: surfaces.strict_saddle(2.0, bounded=True),
    "linear network, one layer": lambda: surfaces.linear_network(1, (3, 2)),
    "linear network, bottleneck": lambda: surfaces.linear_network(2, (3, 1, 3)),
    "linear network, deep": lambda: surfaces.linear_network(3, (3, 2, 2, 2)),
}


@pytest.fixture(params=[*surfaces.names(), *MORE])
def surface(request: pytest.FixtureRequest) -> Surface:
    """Every surface with its defaults, and some with other parameters."""
    return MORE[request.param]() if request.param in MORE else surfaces.get(request.param)


@pytest.fixture
def scattered() -> Callable[..., Tensor]:
    """Random points (b, n) inside a surface's domain."""

    def draw(surface: Surface, count: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        lower, upper = surface.domain.double().unbind(1)
        share = torch.rand(count, surface.size, generator=generator, dtype=torch.float64)
        return lower + share * (upper - lower)

    return draw
