from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import thalweg as tw
from comparison.tasks import BATCH, plain, samples, task
from thalweg.comparison.range_test import read
from thalweg.comparison.trial import endless
from thalweg.errors import InvalidArgument, UnknownName


def test_losses_are_those_of_a_loop_with_a_growing_rate() -> None:
    problem = task()
    found = tw.range_test(problem, "sgd", low=1e-4, high=1.0, steps=40, seed=3)
    model, batches = problem.make_model(3), endless(problem.train, BATCH, 3)
    for step in range(40):
        x, y = next(batches)
        loss = cross_entropy(model(x), y)
        # Single precision over 40 steps.
        assert found.losses[step] == pytest.approx(loss.item(), rel=1e-4)
        rate = 1e-4 * 1e4 ** (step / 39)
        assert found.rates[step] == pytest.approx(rate, rel=1e-12)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= rate * g
    assert found.evaluations == 40


def test_gradient_descent_on_a_quadratic_blows_up_behind_its_stable_rate() -> None:
    # Mean loss ½λθ² of every batch: the edge is 2/λ; a rate that grows by 1.096 a step passes it unseen for some steps.
    curvature = 50.0

    class Bowl(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.theta.expand(len(x))

    problem = task(Bowl, lambda output, target: curvature / 2 * output.square().mean())
    problem = tw.Problem("bowl", Bowl, problem.loss_fn, problem.train, metrics=("loss",))
    found = tw.range_test(problem, "sgd", low=1e-5, high=10.0, steps=150)
    assert found.blow_up is not None
    assert 1 < found.blow_up / (2 / curvature) < 10
    # The loss is exp(−λ Σ 2η): it falls fastest where the sum 2λη/ln 1.097 is 1, at η = 9e-4, smoothing apart.
    assert found.steepest is not None
    assert 0.4 < found.steepest / (math.log(10 ** (6 / 149)) / (2 * curvature)) < 2.5
    assert found.suggestion == found.steepest
    assert "falls fastest" in found.reason


class TestReading:
    RATES = np.geomspace(1e-6, 10, 141)

    def curve(self, middle: float, edge: float) -> np.ndarray:
        """Falling by 2 around `middle` as a logistic curve in the decades, and jumping up at `edge`."""
        decades = np.log10(self.RATES / middle)
        return 2.5 - 2 / (1 + np.exp(-4 * decades)) + np.where(edge <= self.RATES, 50, 0)

    def test_steepest_and_blow_up(self) -> None:
        found = read("sgd", self.RATES, self.curve(1e-3, 0.3), 141)
        # 20 rates a decade: within two of them, and the jump smoothed over three.
        assert abs(math.log10(found.steepest / 1e-3)) < 0.1
        assert found.suggestion == found.steepest
        assert abs(math.log10(found.blow_up / 0.3)) < 0.4
        assert found.steepest < found.lowest < found.blow_up

    def test_a_third_of_the_blow_up_where_that_is_lower(self) -> None:
        found = read("sgd", self.RATES, self.curve(0.1, 0.2), 141)
        assert found.suggestion == found.blow_up / 3 < found.steepest
        assert found.reason.startswith("A third of")

    def test_a_loss_that_ends_in_nan(self) -> None:
        losses = [*self.curve(1e-3, 100)[:90], math.nan]
        found = read("sgd", self.RATES, losses, 90)
        assert len(found.rates) == len(found.smoothed) == 91
        assert found.blow_up is not None
        assert found.blow_up <= self.RATES[90]
        assert all(map(math.isfinite, found.smoothed))

    def test_without_a_blow_up(self) -> None:
        found = read("sgd", self.RATES, self.curve(1e-3, 100), 141)
        assert found.blow_up is None
        assert "did not blow up" in found.reason

    def test_noise_alone_suggests_nothing(self) -> None:
        suggested = 0
        for seed in range(200):
            noise = np.random.default_rng(seed).normal(2.3, 0.05, 141)
            suggested += read("sgd", self.RATES, noise, 141).suggestion is not None
        assert suggested <= 10


def test_model_and_random_state_are_left_alone() -> None:
    model = plain()
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    state = torch.get_rng_state()
    found = tw.range_test((model, cross_entropy, samples(120, 0)), steps=30)
    assert found.optimizer == "adamw"
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_refused() -> None:
    for low, high in ((0.0, 1.0), (1.0, 1.0), (1e-3, math.inf)):
        with pytest.raises(InvalidArgument, match="low and high must be positive, finite and growing"):
            tw.range_test(task(), low=low, high=high)
    with pytest.raises(InvalidArgument, match="steps must be at least 20, got 3"):
        tw.range_test(task(), steps=3)
    with pytest.raises(UnknownName, match="did you mean"):
        tw.range_test(task(), "adamv")
    with pytest.raises(InvalidArgument, match="batch_size must be at least 1, got 0"):
        tw.range_test(task(), batch_size=0)
