from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.problems import DeepLinear
from thalweg.problems.deep_linear import linear_teacher


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_is_the_product_of_its_matrices(depth):
    model = DeepLinear(6, 4, depth=depth, width=7).double()
    x = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), x @ model.product().T)
    assert len(list(model.parameters())) == depth


def test_teacher_has_the_stated_singular_values():
    teacher = linear_teacher(16, 8, torch.tensor([4.0, 3.0, 2.0, 1.0]), seed=0)
    expected = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(torch.linalg.svdvals(teacher), expected, rtol=1e-5, atol=1e-5)


def test_the_global_minimum_is_zero_and_the_loss_that_of_the_product():
    problem = problems.deep_linear(depth=3, width=8, inputs=6, outputs=5, rank=3)
    x, y = problem.train
    model = problem.make_model()
    torch.testing.assert_close(problem.train_objective(model).loss(), mse_loss(x @ model.product().T, y))
    solution = torch.linalg.lstsq(x, y).solution
    assert mse_loss(x @ solution, y).item() < 1e-10


def test_noise_has_the_stated_deviation():
    clean, noisy = problems.deep_linear(samples=5000), problems.deep_linear(samples=5000, noise=0.5)
    assert torch.equal(clean.train[0], noisy.train[0])
    # 5,000 · 8 independent draws: the deviation's relative standard error is 1/√(2·40,000) ≈ 0.0035.
    assert (noisy.train[1] - clean.train[1]).std().item() == pytest.approx(0.5, rel=0.02)


def test_scale_is_kept_from_layer_to_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DeepLinear(400, 400, depth=4, width=400)
        x = torch.randn(400, 400)
    # Each of four layers changes the mean square by a factor 1 ± √(2/400)/20 or so: within a tenth in all.
    assert model(x).square().mean().item() == pytest.approx(1, rel=0.1)


def test_mistakes_are_named():
    with pytest.raises(InvalidArgument, match="rank must be between 1 and 8, got 9"):
        problems.deep_linear(rank=9)
    with pytest.raises(InvalidArgument, match="samples and test_samples must be at least 1, got 0, 200"):
        problems.deep_linear(samples=0)
    with pytest.raises(InvalidArgument, match="depth must be at least 1, got 0"):
        DeepLinear(3, 3, depth=0)
