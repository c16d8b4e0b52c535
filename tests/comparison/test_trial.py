from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from comparison.tasks import BATCH, batchnorm, dropout, plain, samples, task
from thalweg import schedules
from thalweg.comparison.contenders import contender
from thalweg.comparison.trial import Trial, endless, train
from thalweg.problems import Problem


def run(name: str, rate: float, problem: Problem | None = None, **settings: Any) -> Trial:
    given: dict[str, Any] = {"budget": 24, "batch_size": BATCH, "seed": 3}
    # Whatever was drawn before must not matter.
    torch.rand(1)
    return train(problem or task(), contender(name), rate, **(given | settings))


def test_equals_a_plain_torch_loop_with_a_schedule() -> None:
    problem = task()
    model = problem.make_model(3)
    own = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(own, 24)
    batches = endless(problem.train, BATCH, 3)
    expected = []
    for step in range(25):
        if step % 6 == 0:
            with torch.no_grad():
                expected.append([cross_entropy(model(x), y).item() for x, y in (problem.train, problem.test)])
        x, y = next(batches)
        own.zero_grad()
        cross_entropy(model(x), y).backward()
        own.step()
        scheduler.step()
    found = run("adamw", 0.05, schedule=schedules.cosine, points=4)
    assert [row["evaluations"] for row in found.rows] == [0, 6, 12, 18, 24]
    for row, (fit, held) in zip(found.rows, expected, strict=True):
        # Adam in single precision over 24 steps.
        assert row["train loss"] == pytest.approx(fit, rel=1e-4)
        assert row["test loss"] == pytest.approx(held, rel=1e-4)
    assert not found.diverged


def test_batches_are_shuffled_epochs_of_all_samples() -> None:
    x, y = samples(120, 0)
    found = endless((x, y), BATCH, 5)
    epochs = [torch.cat([next(found)[0] for _ in range(6)]) for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == sorted(x.tolist())
    assert not torch.equal(epochs[0], epochs[1])


class Watched(nn.Module):
    """A model that keeps its inputs in training, and its weights at the first of them."""

    seen: list[Tensor]

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if not Watched.seen:
                Watched.seen.append(nn.utils.parameters_to_vector(self.parameters()).detach().clone())
            Watched.seen.append(x.clone())
        return self.inner(x)


@pytest.mark.parametrize("form", ["tensors", "loader"])
def test_the_same_weights_and_batches_for_every_optimizer(form: str) -> None:
    x, y = samples(120, 0)
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    seen: dict[str, list[Tensor]] = {}
    for name in ("sgd", "lion", "schedule_free_adamw", "sam(sgd)"):
        Watched.seen = []
        run(name, 1e-3, task(lambda: Watched(dropout()), train=loader if form == "loader" else (x, y)))
        seen[name] = Watched.seen
    start, *batches = seen["sgd"]
    assert len(batches) == 24
    for name in ("lion", "schedule_free_adamw"):
        assert all(map(torch.equal, seen[name], [start, *batches]))
    first, *twice = seen["sam(sgd)"]
    assert torch.equal(first, start)
    assert len(twice) == 24
    assert all(map(torch.equal, twice[::2], batches))
    assert all(map(torch.equal, twice[1::2], batches))


def test_batches_do_not_depend_on_what_the_model_draws() -> None:
    class Augmented(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            _, y = super().__getitem__(index)
            return torch.randn(4), y

    found = []
    for draws in (1, 2):
        batches = endless(Augmented(*samples(120, 0)), BATCH, 3)
        found.append([])
        for _ in range(12):
            found[-1].append(next(batches)[0])
            torch.rand(draws)
    assert all(map(torch.equal, *found))
    assert len({tuple(x.flatten().tolist()) for x in found[0]}) == 12


@pytest.mark.parametrize(
    ("name", "budget", "steps"), [("sgd", 9, 9), ("sam(sgd)", 9, 4), ("gsam(adam)", 8, 4)]
)
def test_budgets_are_gradient_evaluations(name: str, budget: int, steps: int) -> None:
    count = 0

    def counted(module: nn.Module, grad_input: Any, grad_output: Any) -> None:
        nonlocal count
        count += 1

    def model() -> nn.Module:
        made = plain()
        made[2].register_full_backward_hook(counted)
        return made

    found = run(name, 1e-2, task(model), budget=budget)
    assert (found.steps, found.evaluations) == (steps, count)
    assert count <= budget
    assert found.rows[-1]["evaluations"] == count
    assert found.rows[-1]["steps"] == steps


def test_seeds_differ_and_repeat() -> None:
    one, again, other = run("sgd", 0.1), run("sgd", 0.1), run("sgd", 0.1, seed=4)
    assert one.rows == again.rows
    assert one.rows != other.rows


def test_state_is_counted_for_each_parameter() -> None:
    # Two single-precision numbers, one, none, and a copy with a second moment.
    expected = {"adam": 8, "lion": 4, "sgd": 0, "sam(momentum)": 4, "schedule_free_adamw": 8}
    assert {name: run(name, 1e-3, budget=4).state_bytes for name in expected} == expected


def test_schedule_free_is_evaluated_at_its_average_with_statistics_of_its_own() -> None:
    problem = task(batchnorm)
    model = problem.make_model(3)
    own = contender("schedule_free_sgd").make(model, 0.5, problem.train_objective(model))
    batches = endless(problem.train, BATCH, 3)
    for _ in range(24):
        x, y = next(batches)
        own.zero_grad()
        cross_entropy(model(x), y).backward()
        own.step()
    at_y = copy.deepcopy(model).eval()
    own.eval()
    x, y = problem.train
    model[1].momentum = 1.0
    with torch.no_grad():
        # One batch of all samples leaves their statistics.
        model(x)
        model.eval()
        expected, wrong = cross_entropy(model(x), y).item(), cross_entropy(at_y(x), y).item()
    found = run("schedule_free_sgd", 0.5, problem, schedule=schedules.cosine).rows[-1]["train loss"]
    # No schedule although one is asked for, and single precision over 24 steps.
    assert found == pytest.approx(expected, rel=1e-4)
    assert abs(found - wrong) > 10 * abs(found - expected)


class TestDivergence:
    def test_a_loss_that_is_not_finite_ends_it(self) -> None:
        problem = task(
            lambda: nn.Linear(4, 1), lambda output, target: (output[:, 0] - target).square().mean()
        )
        problem = Problem(
            "regression", problem.model, problem.loss_fn, problem.train, problem.test, metrics=("loss",)
        )
        found = run("sgd", 1e8, problem, budget=200, points=20)
        assert found.diverged
        assert found.steps < 20
        assert all(math.isfinite(row["train loss"]) for row in found.rows[:-1])
        assert not math.isfinite(found.rows[-1]["train loss"])

    def test_a_loss_that_ends_a_hundred_times_higher_is_one_too(self) -> None:
        problem = task(
            lambda: nn.Linear(4, 1), lambda output, target: (output[:, 0] - target).square().mean()
        )
        problem = Problem(
            "regression", problem.model, problem.loss_fn, problem.train, problem.test, metrics=("loss",)
        )
        found = run("sgd", 10.0, problem, budget=4, points=4)
        assert found.steps == 4
        assert math.isfinite(found.rows[-2]["train loss"])
        assert found.rows[-2]["train loss"] > 100 * found.rows[0]["train loss"]
        assert found.diverged
        assert math.isnan(found.rows[-1]["train loss"])


def test_global_random_state_stays() -> None:
    state = torch.get_rng_state()
    train(task(dropout), contender("sam(adamw)"), 0.01, budget=6, batch_size=BATCH, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
