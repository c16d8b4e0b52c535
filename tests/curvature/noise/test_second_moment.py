"""The mean square of gradients against all of them in one matrix, and against Adam's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch.func import functional_call, grad, vmap

from curvature.noise.test_noise_scale import wine
from thalweg import problems, surfaces
from thalweg.curvature.noise.second_moment import second_moment
from thalweg.errors import InvalidArgument


def test_against_the_gradients_of_all_samples():
    objective, gradients = wine()
    mean = gradients.mean(0)
    torch.testing.assert_close(second_moment(objective), mean**2, rtol=1e-9, atol=1e-20)
    torch.testing.assert_close(second_moment(objective, batch_size=1), (gradients**2).mean(0))
    expected = mean**2 + (gradients - mean).square().mean(0) / 20
    torch.testing.assert_close(second_moment(objective, batch_size=20), expected)
    with pytest.raises(InvalidArgument, match="a surface has no samples"):
        second_moment(surfaces.rosenbrock(), batch_size=4)


@pytest.mark.parametrize("seed", range(3))
def test_adams_second_moment_tracks_the_fisher_matrix(seed):
    """K62: Spearman of v̂ after 200 steps with the diagonal of the exact Fisher matrix above 0.5."""
    problem = problems.digits(hidden=(24,))
    (x, y), model = problem.train, problem.make_model(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(200):
        batch = torch.randint(len(x), (64,), generator=draw)
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    held = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, sample, label):
        return F.cross_entropy(functional_call(model, parameters, (sample[None],)), label[None])

    some = x[torch.randperm(len(x), generator=draw)[:200]]
    probability = model(some).softmax(1).detach()
    fisher = 0
    for label in range(10):
        slopes = vmap(grad(loss), (None, 0, None))(held, some, torch.tensor(label))
        rows = torch.cat([slopes[name].flatten(1) for name in held], 1)
        fisher = fisher + (probability[:, label, None] * rows.square()).mean(0)
    moments = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()])
    # Weights of pixels that are always blank would agree in that they are all zero.
    alive = fisher > 0
    assert spearmanr(moments[alive], fisher[alive]).statistic > 0.5
