"""Paths on surfaces whose barriers are known, and between trained networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import thalweg as tw
from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.landscape import bezier_path, curved_path, interpolate, polygon_path
from thalweg.landscape.connectivity.path import point, relative_length, weights


def ring(x: torch.Tensor) -> torch.Tensor:
    """A circular valley of radius 1 whose floor is 0, with a hill of height 1 in the middle."""
    return (1 - x.square().sum(0)) ** 2


RING = tw.surfaces.Surface("ring", ring, [1.0, 0.0])
A, B = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([-1.0, 0.0], dtype=torch.float64)


def tilted(x: torch.Tensor) -> torch.Tensor:
    """A double well along x, its second well lower by 1/5."""
    return (1 - x[0] ** 2) ** 2 - 0.1 * x[0] + x[1] ** 2


def test_a_known_barrier() -> None:
    found = interpolate(RING, A, B)
    assert found.barrier == pytest.approx(1.0, abs=1e-6)
    assert found.at == pytest.approx(0.5, abs=1e-3)
    assert (found.height, found.error, found.length) == (pytest.approx(1.0, abs=1e-6), 0.0, 1.0)
    assert found.losses == pytest.approx((1 - (1 - 2 * found.t) ** 2) ** 2, abs=1e-12)
    # An even number of points misses the top, which is looked for.
    assert interpolate(RING, A, B, points=4).barrier == pytest.approx(1.0, abs=1e-5)


def test_the_barrier_is_above_the_line_between_the_ends() -> None:
    surface = tw.surfaces.Surface("tilted", tilted, [1.0, 0.0])
    a, b = (torch.tensor([x, 0.0], dtype=torch.float64) for x in (-1.0, 1.0))
    found = interpolate(surface, a, b)
    # 0.1 − 0.2 t is the line between the ends; above it only the wells are left.
    assert found.barrier == pytest.approx(1.0, abs=1e-6)
    assert found.height == pytest.approx(float(found.losses.max()) - 0.1)
    assert found.height < found.barrier


@pytest.mark.parametrize("make", [bezier_path, polygon_path])
def test_a_path_bends_around_a_hill(make) -> None:
    nudged = A + torch.tensor([0.0, 1e-3], dtype=torch.float64)
    found = make(RING, nudged, B, bends=3, steps=2000)
    assert found.barrier < 0.02
    assert found.gradients == 2000
    # A half circle is π/2 times as long as its diameter.
    assert found.length == pytest.approx(math.pi / 2, abs=0.1)


def test_weights_are_those_of_the_curves() -> None:
    for t in np.linspace(0, 1, 7):
        for kind in ("line", "bezier", "polygon"):
            for count in (2, 3, 5):
                shares = weights(kind, t, count)
                assert sum(shares) == pytest.approx(1)
                assert min(shares) >= 0
        assert weights("bezier", t, 3) == pytest.approx([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    assert weights("polygon", 0.25, 3) == [0.5, 0.5, 0]
    controls = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert point("polygon", controls, 0.75).tolist() == [0.5, 1.0]
    assert relative_length("polygon", controls) == pytest.approx(2**0.5)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16 - 0.5).float(), torch.tensor(y)


def trained(seed: int, norm: bool) -> nn.Module:
    x, y = digits()
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 48), nn.BatchNorm1d(48) if norm else nn.Identity(), nn.ReLU(), nn.Linear(48, 10)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("norm", [False, True])
def test_minima_of_two_seeds_are_connected(norm: bool) -> None:
    """K19: the straight line is high, a Bezier curve below a twentieth of that.

    Measured with two hidden layers of 32 and 128 units, the latter also with batch-norm: lines 0.83, 0.32 and 0.10
    above ends of 0.001 to 0.03, curves of 1,000 steps at 0.
    """
    a, b = trained(0, norm), trained(1, norm)
    obj = tw.Objective(a, F.cross_entropy, digits(), batch_size=256)
    before = [tensor.clone() for tensor in a.state_dict().values()]
    line, curve = interpolate(obj, a, b), bezier_path(obj, a, b)
    assert line.barrier > 0.05
    assert line.barrier > 10 * line.error
    assert curve.height < 0.05 * line.height
    assert all(torch.equal(x, y) for x, y in zip(before, a.state_dict().values(), strict=True))
    assert bool(line.batchnorm) == norm
    if norm:
        # With the running statistics of one end the other is not the network that it is.
        assert float(interpolate(obj, a, b, batchnorm="eval").losses[-1]) > 10 * float(line.losses[-1])


def test_the_standard_error_is_that_of_paired_samples() -> None:
    a, b = trained(0, False), trained(1, False)
    x, y = digits()
    found = interpolate(tw.Objective(a, F.cross_entropy, (x, y)), a, b)
    middle = nn.Sequential(nn.Linear(64, 48), nn.Identity(), nn.ReLU(), nn.Linear(48, 10))
    states = [model.state_dict() for model in (a, b)]
    middle.load_state_dict({k: (1 - found.at) * states[0][k] + found.at * states[1][k] for k in states[0]})
    with torch.no_grad():
        at, start, end = (F.cross_entropy(m(x), y, reduction="none").double() for m in (middle, a, b))
    rises = at - (1 - found.at) * start - found.at * end
    assert found.barrier == pytest.approx(float(rises.mean()), rel=1e-4)
    assert found.error == pytest.approx(float(rises.std()) / len(x) ** 0.5, rel=1e-4)


def test_any_optimizer_bends_a_path() -> None:
    found = bezier_path(
        RING, A, B + 1e-3, bends=2, steps=500, optimizer=lambda p: tw.optim.SGD(p, lr=0.05, momentum=0.9)
    )
    assert found.barrier < 0.1
    again = bezier_path(
        RING, A, B + 1e-3, bends=2, steps=500, optimizer=lambda p: tw.optim.SGD(p, lr=0.05, momentum=0.9)
    )
    assert torch.equal(found.controls, again.controls)


def test_an_infinite_wall() -> None:
    def wall(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[0].abs() < 0.1, math.inf, x[1] ** 2)

    surface = tw.surfaces.Surface("wall", wall, [1.0, 0.0])
    assert interpolate(surface, A, B).barrier == math.inf


@pytest.mark.parametrize("points", [25, 50])
def test_no_place_is_evaluated_twice(points: int) -> None:
    """Wherever the top lies: i steps of 1/(points − 1) are another number than i/(points − 1)."""
    a, b = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    grid = torch.arange(points, dtype=torch.float64) / (points - 1)
    for top in torch.linspace(0.05, 0.95, 40, dtype=torch.float64):

        def hill(x: torch.Tensor, top: torch.Tensor = top) -> torch.Tensor:
            return torch.exp(-20 * (x[0] - top) ** 2)

        found = interpolate(tw.surfaces.Surface("hill", hill, [0.0]), a, b, points=points)
        assert float(found.t.diff().min()) > 1e-9
        assert found.evaluations == len(found.t) == len(found.losses)
        assert set(grid.tolist()) <= set(found.t.tolist())
        t = torch.linspace(0, 1, 10_001, dtype=torch.float64)
        rises = hill(t[None]) - (1 - t) * hill(a) - t * hill(b)
        # Within a thousandth of the top the hill falls by 20 millionths.
        assert found.barrier == pytest.approx(float(rises.max()), abs=3e-5)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize(("end", "sign"), [("a", 1), ("b", -1)])
def test_an_end_without_a_finite_loss_is_named(end: str, sign: int, bad: float) -> None:
    def formula(x: torch.Tensor) -> torch.Tensor:
        return torch.where(sign * x[0] > 0.99, bad, x[0] ** 2)

    surface = tw.surfaces.Surface("edge", formula, [0.0, 0.0])
    told = rf"^{end} must have a finite loss for a path to rise above it, got {bad}$"
    with pytest.raises(InvalidArgument, match=told):
        interpolate(surface, A, B)


def test_a_path_leaves_the_random_state_alone() -> None:
    """A loader that is read anew draws a seed at each pass."""
    x, y = digits()
    data = torch.utils.data.TensorDataset(x[:60], y[:60])
    model, other = nn.Linear(64, 10), nn.Linear(64, 10)
    for shuffle in (False, True):
        loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=shuffle)
        obj = tw.Objective(model, F.cross_entropy, loader, memory_budget=0)
        assert not obj.batches.cached
        before = torch.get_rng_state()
        # More than two passes.
        found = bezier_path(obj, model, other, steps=10, points=3)
        assert torch.equal(torch.get_rng_state(), before)
        again = bezier_path(obj, model, other, steps=10, points=3)
        assert torch.equal(found.controls, again.controls)
        held = tw.Objective(model, F.cross_entropy, list(torch.utils.data.DataLoader(data, batch_size=16)))
        assert torch.equal(found.controls, bezier_path(held, model, other, steps=10, points=3).controls)


def test_bad_input() -> None:
    obj = tw.Objective(nn.Linear(3, 2), F.cross_entropy, (torch.zeros(4, 3), torch.zeros(4).long()))
    model = nn.Linear(3, 2)
    with pytest.raises(InvalidArgument, match="weight has shape"):
        interpolate(obj, model, nn.Linear(2, 2))
    with pytest.raises(ShapeMismatch):
        interpolate(obj, obj.point, torch.zeros(3))
    with pytest.raises(InvalidArgument, match="has no model"):
        interpolate(RING, A, model)
    with pytest.raises(InvalidArgument, match="points"):
        interpolate(obj, model, model, points=2)
    with pytest.raises(InvalidArgument, match="did you mean 'bezier'"):
        curved_path(RING, A, B, "beziers")
    with pytest.raises(InvalidArgument, match="bends"):
        bezier_path(RING, A, B, bends=0)
    with pytest.raises(InvalidArgument, match="needs batch-norm"):
        interpolate(obj, model, model, batchnorm="recalibrate")
    with pytest.raises(NotDifferentiable, match="not finite"):
        bezier_path(tw.surfaces.Surface("nowhere", lambda x: x.sum(0) * math.nan, [1.0, 0.0]), A, B)
