"""Zero modes where their number is known, and walks along them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn

import thalweg as tw
from thalweg.errors import InvalidArgument
from thalweg.landscape import flat_walk, zero_modes


def wine(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_wine(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:count]
    return torch.tensor((x - x.mean(0)) / x.std(0))[rows], torch.tensor(y)[rows]


def interpolating(width: int, loss: str, count: int = 12) -> tw.Objective:
    """A network with more parameters than outputs, trained to zero error."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(13, width), nn.Tanh(), nn.Linear(width, 3)).double()
    x, y = wine(count)
    targets = F.one_hot(y, 3).double() if loss == "mse" else y
    measure = F.mse_loss if loss == "mse" else F.cross_entropy
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        found = measure(model(x), targets)
        found.backward()
        return found

    optimizer.step(closure)
    return tw.Objective(model, measure, (x, targets))


def test_a_quadratic_of_known_rank() -> None:
    surface = tw.surfaces.Surface("flat", lambda x: 2 * x[0] ** 2 + x[1] ** 2 / 2 + 0 * x.sum(0), [1.0] * 5)
    found = zero_modes(surface, matrix="hessian")
    assert (found.count, found.rank, found.error) == (3, 2, 0)


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_more_parameters_than_outputs(loss: str) -> None:
    """K20: 12 samples of 3 outputs leave all but 36 of 147 directions free; with cross-entropy all but 24."""
    obj = interpolating(8, loss)
    found = zero_modes(obj, rtol=1e-12)
    assert found.bound == 36
    x, _ = wine(12)
    parts = torch.func.jacrev(lambda held: torch.func.functional_call(obj.model, held, (x,)))(
        dict(obj.model.named_parameters())
    )
    jacobian = torch.cat([part.reshape(36, -1) for part in parts.values()], dim=1)
    assert torch.linalg.matrix_rank(jacobian) == 36
    # At a softmax that is nearly certain eigenvalues fall by decades: the bound is what is exact.
    assert found.rank <= (36 if loss == "mse" else 24)
    if loss == "mse":
        assert found.rank == 36


def test_counts_from_probes_are_within_their_error() -> None:
    obj = interpolating(80, "mse")
    assert obj.size > 1024
    found = zero_modes(obj, rtol=1e-6)
    exact = torch.linalg.eigvalsh(tw.curvature.ggn(obj).dense())
    count = int((exact.abs() <= found.tolerance).sum())
    assert found.error > 0
    assert abs(found.count - count) <= 4 * found.error
    assert found.products < obj.size


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_a_walk_keeps_the_loss(loss: str) -> None:
    obj = interpolating(20, loss)
    found = flat_walk(obj, distance=0.3, steps=20)
    rise, straight = (float((x - x[0]).max()) for x in (found.losses, found.straight))
    assert rise < 0.02 * straight
    size = float(obj.point.norm())
    assert 0.2 * size < float(found.distances[-1]) <= 0.3 * size * (1 + 1e-9)
    assert float((found.end - obj.point).norm()) == pytest.approx(float(found.distances[-1]))
    assert float(obj.loss(found.end)) == pytest.approx(float(found.losses[-1]))


def test_bad_input() -> None:
    bowl = tw.surfaces.quadratic(condition_number=3, dim=3)
    with pytest.raises(InvalidArgument, match="rtol"):
        zero_modes(bowl, rtol=0)
    with pytest.raises(InvalidArgument, match="did you mean 'ggn'"):
        zero_modes(bowl, matrix="ggm")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match="distance"):
        flat_walk(bowl, distance=-1)
