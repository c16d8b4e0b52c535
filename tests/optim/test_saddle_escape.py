"""K9: noise speeds the escape from saddles, if it is noise that the symmetry of the saddle does not forbid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.objective import Objective

EULER = 0.5772156649015329


def escape_steps(distance: Tensor, threshold: float) -> Tensor:
    """The first step (b,) at which each path (b, kept) is further out than the threshold."""
    out = distance > threshold
    assert bool(out.any(1).all())
    return out.to(torch.int8).argmax(1).double()


def test_without_noise_there_is_no_escape():
    """On the stable manifold the gradient along the way out is exactly zero: after 5000 steps y is 0.0."""
    saddle = tw.surfaces.strict_saddle(0.5, bounded=True)
    found = tw.optim.descend(saddle, "gradient_descent", [1.0, 0.0], steps=5000, lr=0.1, keep="last")
    assert found.outcome[0].target.kind == "saddle"
    assert float(found.last[0, 1]) == 0.0
    assert float(found.last[0, 0]) < 1e-100


@pytest.mark.parametrize(("curvature", "rate"), [(0.5, 0.1), (1.0, 0.2)])
def test_with_noise_escape_takes_the_logarithm_of_one_over_sigma(curvature, rate):
    """y = a sum of normal numbers, each grown by 1 + a a step, a = η·abs(λ): soon ησ(1 + a)ᵗ/√((1 + a)² − 1) · Z.

    As E ln abs(Z) = −(γ + ln 2)/2, and half a step is lost in rounding up, the mean of the steps until abs(y) > c is
    known in closed form. Measured at σ = 1e-2, 1e-4, 1e-6, 1e-8, mean of 500, against the form:
    84.4, 178.8, 273.2, 367.6 against 84.6, 178.9, 273.3, 367.7 (a = 0.05, standard error 1.0);
    23.7, 48.9, 74.2, 99.4 against 23.2, 48.4, 73.7, 99.0 (a = 0.2, standard error 0.3).
    """
    saddle = tw.surfaces.strict_saddle(curvature, bounded=True)
    growth, threshold, runs = 1 + rate * curvature, 0.1, 500
    means: list[float] = []
    sigmas = [1e-2, 1e-4, 1e-6, 1e-8]
    for seed, sigma in enumerate(sigmas):
        found = tw.optim.descend(
            saddle,
            "gradient_descent",
            [[1.0, 0.0]] * runs,
            steps=560,
            lr=rate,
            noise=sigma,
            seed=seed,
            follow=False,
        )
        steps = escape_steps(found.path[..., 1].abs(), threshold)
        start = math.log(threshold * math.sqrt(growth**2 - 1) / (rate * sigma)) + (EULER + math.log(2)) / 2
        expected = start / math.log(growth) + 0.5
        # The first steps and the quartic term change it by less than a step.
        assert abs(float(steps.mean()) - expected) < 1 + 4 * float(steps.std()) / runs**0.5
        means.append(float(steps.mean()))
    slope = np.polyfit(-np.log(sigmas), means, 1)[0]
    assert slope == pytest.approx(1 / math.log(growth), rel=0.1)


# One bump a·exp(−(x − c)²/2) for two hills, at x = −2 and 2: in the middle it is at a saddle.
X, Y = torch.tensor([-2.0, 0.0, 2.0]).double(), torch.tensor([1.0, 0.0, 1.0]).double()


def bump_losses(p: Tensor) -> Tensor:
    """Half the squared error (r, 3) on the three points, for amplitudes and centres (r, 2)."""
    return (p[:, :1] * torch.exp(-(X - p[:, 1:]).square() / 2) - Y).square() / 2


def bump_escape(
    batch: int | None, runs: int, rate: float, steps: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Distances (r, steps + 1) of the centre from the saddle, and the last points; batches with replacement."""
    draw = np.random.default_rng(seed)
    p = nn.Parameter(torch.tensor([[1.0, 0.0]] * runs).double())
    optimizer = tw.optim.SGD([p], lr=rate)
    weights = torch.full((runs, 3), 1 / 3).double()
    path = [torch.zeros(runs, dtype=torch.float64)]
    for _ in range(steps):
        if batch is not None:
            weights = torch.from_numpy(draw.multinomial(batch, [1 / 3] * 3, size=runs) / batch)
        optimizer.zero_grad()
        (bump_losses(p) * weights).sum().backward()
        optimizer.step()
        path.append(p.detach()[:, 1].abs())
    return torch.stack(path, 1), p.detach()


def test_minibatches_escape_where_the_data_as_a_whole_hold_the_balance():
    """σ ∝ 1/√B for B samples drawn with replacement; λ = −0.0876 with a at its best, where η = 1 gives a = 0.0876.

    Measured: 38.1, 66.1 and 93.8 steps for B = 10⁴, 10⁶ and 10⁸ (standard error 0.5), 27.8 for each factor of ten in
    σ against ln 10/ln(1 + a) = 27.4; fewer than 10 steps for B = 1. The whole data never leave in 1500 steps.
    """
    height = 2 * math.exp(-2) / (1 + 2 * math.exp(-4))
    at = torch.tensor([height, 0.0]).double()
    curvature = torch.autograd.functional.hessian(lambda q: bump_losses(q[None]).mean(), at)
    lowest, highest = torch.linalg.eigvalsh(curvature).tolist()
    assert lowest < 0 < highest
    rate = 1.0
    still, last = bump_escape(None, 1, rate, 1500)
    assert float(still.max()) == 0.0
    assert float(last[0, 0]) == pytest.approx(height, rel=1e-12)
    sizes = [10**4, 10**6, 10**8]
    means = [float(escape_steps(bump_escape(size, 600, rate, 220)[0], 0.05).mean()) for size in sizes]
    slope = np.polyfit(0.5 * np.log(sizes), means, 1)[0]
    assert slope == pytest.approx(1 / math.log(1 - rate * lowest), rel=0.1)
    assert float(escape_steps(bump_escape(1, 100, rate, 60)[0], 0.05).mean()) < 10


class TwoUnits(nn.Module):
    """tanh(w₀x) + tanh(w₁x)."""

    def __init__(self, weights: tuple[float, float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights).double())

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x * self.weights).sum(1)


def test_identical_units_are_parted_by_noise_in_the_gradient_not_by_minibatches():
    """Every sample has the same gradient in both units, so that no choice of samples parts them: K13's symmetry.

    Gradient descent keeps w₀ = w₁ to the last bit, whole data or batches of 4, and ends at w = 0.68, a saddle with
    eigenvalues −0.292 and 0.555. With noise σ = 1e-2, 1e-4, 1e-6 on the gradient they part after 40, 95 and 150 steps,
    11.92 for each factor e against 1/ln(1 + η·0.292) = 11.93.
    """
    x = torch.linspace(-3, 3, 24).double()[:, None]
    y = TwoUnits((0.3, 4.0))(x).detach()
    model = TwoUnits((1.0, 1.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    draw = torch.Generator().manual_seed(0)
    for _ in range(1000):
        some = torch.randint(24, (4,), generator=draw)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[some]), y[some]).backward()
        optimizer.step()
    assert model.weights[0].item() == model.weights[1].item()

    objective = Objective(TwoUnits((1.0, 1.0)), nn.functional.mse_loss, (x, y))
    rate = 0.3
    still = tw.optim.descend(objective, "gradient_descent", steps=200, lr=rate, keep="last", follow=False)
    assert still.last[0, 0].item() == still.last[0, 1].item()
    values = torch.linalg.eigvalsh(
        torch.autograd.functional.hessian(
            lambda w: nn.functional.mse_loss(torch.tanh(x * w).sum(1), y), still.last[0]
        )
    )
    lowest, highest = values.tolist()
    assert lowest < 0 < highest
    sigmas = [1e-2, 1e-4, 1e-6]
    means: list[float] = []
    for sigma in sigmas:
        found = tw.optim.descend(
            objective,
            "gradient_descent",
            still.last.expand(5, 2),
            steps=210,
            lr=rate,
            noise=sigma,
            follow=False,
        )
        apart = (found.path[..., 0] - found.path[..., 1]).abs()
        means.append(float(escape_steps(apart, 0.2).mean()))
    slope = np.polyfit(-np.log(sigmas), means, 1)[0]
    assert slope == pytest.approx(1 / math.log(1 - rate * lowest), rel=0.1)
