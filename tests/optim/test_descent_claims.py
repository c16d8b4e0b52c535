"""The lecture's claims about descent on surfaces with known answers (CLAIMS K2 to K6, K45, K46, K53)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw


@pytest.mark.parametrize("kappa", [10, 100, 1000])
def test_k2_contraction_of_gradient_descent(kappa):
    surface = tw.surfaces.quadratic(condition_number=kappa, dim=2)
    low, high = torch.linalg.eigvalsh(surface.hessian()).tolist()
    found = tw.optim.descend(surface, "gradient_descent", [1.0, 1.0], steps=200, lr=2 / (low + high))
    distance = found.path[0].norm(dim=1)
    measured = -math.log(float(distance[-1] / distance[0])) / 200
    assert measured == pytest.approx(-math.log((kappa - 1) / (kappa + 1)), rel=0.01)


def test_k3_momentum_takes_the_root_of_the_condition_number():
    kappa = 1e4
    surface = tw.surfaces.quadratic(condition_number=kappa, dim=2)
    low, high = torch.linalg.eigvalsh(surface.hessian()).sqrt().tolist()
    alpha, lr = ((high - low) / (high + low)) ** 2, 4 / (high + low) ** 2
    found = tw.optim.descend(surface, "momentum", [1.0, 1.0], steps=4000, lr=lr, momentum=alpha, keep=10)
    distance = found.path[0].norm(dim=1)
    # The double root adds a factor t, and with it ln 2 over 2000 steps: fitted late, and 4 % of the rate.
    half = len(distance) // 2
    measured = math.log(float(distance[half] / distance[-1])) / 2000
    theory = -math.log((math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1))
    assert measured == pytest.approx(theory, rel=0.04)
    steps = int(found.steps[(distance < 1e-6 * distance[0]).nonzero()[0, 0]])
    assert steps * 25 < math.log(1e6) / -math.log((kappa - 1) / (kappa + 1))


def test_k4_nesterov_on_his_worst_function():
    """f − f* ≤ 2L‖x₀ − x*‖²/(t+1)² at every step, with the momentum (t−1)/(t+2) of the proof."""
    n = 1000
    off = torch.full((n - 1,), -1.0, dtype=torch.float64)
    matrix = torch.diag(torch.full((n,), 2.0, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    unit = torch.zeros(n, dtype=torch.float64)
    unit[0] = 1
    best = torch.linalg.solve(matrix, unit)

    def f(x):
        return (x @ (matrix @ x) / 2 - x[0]) / 4

    p = nn.Parameter(torch.zeros(n, dtype=torch.float64))
    optimizer = tw.optim.Nesterov([p], lr=1.0, momentum=0.0)  # L = 1
    for t in range(1, n // 2 + 1):
        optimizer.zero_grad()
        f(p).backward()
        optimizer.param_groups[0]["momentum"] = t / (t + 3)
        optimizer.step()
        optimizer.eval()
        assert float(f(p.detach()) - f(best)) <= 2 * float(best @ best) / (t + 1) ** 2
        optimizer.train()


def test_k6_the_rate_decides_which_minimum_holds():
    surface = tw.surfaces.quartic()
    minima = sorted(m.location.item() for m in surface.minima)
    assert minima == pytest.approx([-1.0575, 0.9304], abs=1e-4)
    starts = [[x] for x in np.linspace(-1.8, 1.8, 41)]
    found = tw.optim.descend(surface, "gradient_descent", starts, steps=3000, lr=[0.01, 0.26], keep="last")
    small, between = (
        {round(o.target.location[0], 3) for o in found.outcome[r] if o.kind == "converged"} for r in range(2)
    )
    assert small == {-1.057, 0.93} or small == {-1.058, 0.93}
    # Between 0.2123 and 0.3131 only the flatter minimum holds, and it is the worse one.
    assert between == {0.93}


def test_k45_momentum_leaves_local_traps():
    starts = [[x] for x in np.linspace(0.15, 2, 400)]
    surface = tw.surfaces.quartic()

    def share(name, **options):
        found = tw.optim.descend(surface, name, starts, steps=2000, lr=0.02, keep="last", **options)
        return sum(o.target is not None and o.target.location[0] < 0 for o in found.outcome) / 400

    assert share("gradient_descent") == 0
    assert share("momentum", momentum=0.9) == pytest.approx(0.30, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "heavy_ball", "nesterov"),
    [(0.01, 0.153, 0.119), (0.1, 0.604, 0.355), (0.5, 0.842, 0.202), (1.0, 0.900, 0.0)],
)
def test_k46_nesterov_overshoots_less(rate, heavy_ball, nesterov):
    surface = tw.surfaces.quadratic(condition_number=1, dim=1)
    curvature = float(surface.hessian()[0, 0])

    def overshoot(name):
        found = tw.optim.descend(surface, name, [1.0], steps=400, lr=rate / curvature, momentum=0.9)
        return max(0.0, -float(found.path.min()))

    assert overshoot("momentum") == pytest.approx(heavy_ball, abs=1e-3)
    assert overshoot("nesterov") == pytest.approx(nesterov, abs=1e-3)


def test_k53_adam_equalizes_curvature_only_along_the_axes():
    def steps(kappa, rotation):
        surface = tw.surfaces.quadratic(condition_number=kappa, dim=2, rotation=rotation)
        found = tw.optim.descend(surface, "adam", [1.0, 1.0], steps=1200, lr=[1.0, 0.3, 0.1, 0.03], eps=0.0)
        below = (found.loss < 1e-6 * found.loss[..., :1]).flatten(0, 1)
        return min(int(row.to(torch.int8).argmax()) for row in below if row.any())

    aligned = [steps(kappa, 0.0) for kappa in (1, 10, 1000)]
    # Each coordinate's path is the same whatever its curvature; the loss weighs the two alike.
    assert len(set(aligned)) == 1
    assert steps(1000, math.pi / 4) > 10 * aligned[0]
