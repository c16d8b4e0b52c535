"""Sophia's update against the paper's equations in plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.optim.references import oracle, problem, recordings
from torch import nn

from thalweg.optim import sophia
from thalweg.optim.sophia import SophiaH
from thalweg.optim.sophia_estimates import generator, random_signs


class Reference(nn.Module):
    """The reference problem's four tensors; a batch holds the number of the step."""

    def __init__(self):
        super().__init__()
        self.tensors = nn.ParameterList([nn.Parameter(p.detach()) for p in problem.parameters()])


def reference_loss(model, batch):
    return problem.torch_loss(list(model.tensors), int(batch))


def estimate_of_step(seed, number, theta, step):
    """The estimate that SophiaH should make, by the reference problem's own Hessian product."""
    signs = random_signs(
        torch.empty(problem.SIZE).double(), generator(seed, number, torch.device("cpu"))
    ).numpy()
    return signs * problem.hessian_product(theta, signs, step)


@pytest.mark.parametrize("period", [10, 3])
def test_three_hundred_steps_are_the_papers_in_plain_numpy(period):
    model = Reference()
    options = {"lr": 0.01, "gamma": 10.0, "eps": 1e-8, "weight_decay": 0.1, "update_period": period}
    opt = SophiaH(model.parameters(), **options, model=model, batch_loss=reference_loss, seed=7)
    points, estimates = [], []
    for step in range(problem.STEPS):
        if step % period == 0:
            estimates.append(estimate_of_step(7, step // period, problem.flat(list(model.tensors)), step))
        opt.step(torch.tensor([step]))
        points.append(problem.flat(list(model.tensors)))
    path = oracle.sophia(
        problem.initial(),
        problem.gradient,
        oracle.constant(0.01),
        np.stack(estimates),
        gamma=10.0,
        eps=1e-8,
        weight_decay=0.1,
        every=period,
    )
    for found, expected in zip(points, path, strict=True):
        # Rounding at 1e-16 a step in a descent that does not amplify it by more than 10⁵.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_what_another_implementation_recorded():
    class Given(SophiaH):
        def _estimate(self, objective, batch, theta, number):
            return torch.from_numpy(recordings.sophia_estimates()[number])

    model = Reference()
    options = {"lr": 0.01, "gamma": 10.0, "eps": 1e-8, "weight_decay": 0.1}
    opt = Given(model.parameters(), **options, model=model, batch_loss=reference_loss)
    recording = recordings.recording("sophia_paper")
    for step in range(problem.STEPS):
        opt.step(torch.tensor([step]))
        if step + 1 in recording.points:
            found = problem.flat(list(model.tensors))
            np.testing.assert_allclose(found, recording.points[step + 1], rtol=0, atol=1e-10)


numbers = st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3)


@given(numbers, numbers, numbers, numbers, st.floats(1e-3, 1), st.floats(0, 0.5))
@settings(max_examples=100, deadline=None)
def test_no_entry_moves_further_than_the_rate_and_negative_curvature_gives_the_sign(
    theta, g, m, h, lr, decay
):
    theta, g, m, h = (torch.tensor([x], dtype=torch.float64) for x in (theta, g, m, h))
    moved, mean, same = sophia.update(theta, g, m, h, lr, 0.9, 0.05, 1e-12, lr * decay)
    assert same is h
    torch.testing.assert_close(mean, 0.9 * m + 0.1 * g)
    step = (1 - lr * decay) * theta - moved
    # Rounding of θ, at most 10, at 1.1e-16.
    assert float(step.abs()) <= lr * (1 + 1e-12) + 1e-14
    if float(h) < 0 and float(mean.abs()) > 1e-10:
        torch.testing.assert_close(step, lr * mean.sign(), rtol=0, atol=1e-14)


def test_refreshing_is_due_at_the_first_step_and_each_period_after():
    group = {"update_period": 4}
    assert [step for step in range(10) if sophia.due(step, group)] == [0, 4, 8]
    h = sophia.refreshed(torch.tensor([1.0, -1.0]), torch.tensor([3.0, 5.0]), 0.75)
    torch.testing.assert_close(h, torch.tensor([1.5, 0.5]))
