"""The terms of a race, the same for everyone, checked before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from thalweg import schedules
from thalweg.comparison.contenders import Contender
from thalweg.comparison.trial import MakeSchedule
from thalweg.comparison.tuning import Tuner, require
from thalweg.errors import InvalidArgument
from thalweg.problems import Problem
from thalweg.surveys.minibatches import batches_per_epoch

Metric: TypeAlias = Literal["test loss", "test accuracy", "train loss", "train accuracy"]


@dataclass(frozen=True)
class Terms:
    """Who runs, from which seeds, how far, and what is tuned before; `budget` and `tuning_budget` count gradients."""

    teams: tuple[Contender, ...]
    budget: int
    tuning_budget: int
    seeds: tuple[int, ...]
    trials: int
    tuner: Tuner
    schedule: MakeSchedule | None
    schedule_name: str | None
    metric: Metric
    batch_size: int
    seed: int

    def settings(self) -> dict[str, Any]:
        """What the results depend on, besides the problem."""
        return {
            "optimizers": [team.name for team in self.teams],
            "budget": self.budget,
            "tuning budget": self.tuning_budget,
            "seeds": list(self.seeds),
            "tune": self.trials,
            "tuner": self.tuner,
            "schedule": self.schedule_name,
            "metric": self.metric,
            "batch size": self.batch_size,
            "seed": self.seed,
        }


def agree(
    problem: Problem,
    teams: Sequence[Contender],
    *,
    budget: int | None,
    seeds: int,
    tune: int,
    tuning_budget: int | None,
    tuner: str | None,
    schedule: str | MakeSchedule | None,
    metric: str | None,
    batch_size: int | None,
    seed: int,
) -> Terms:
    """The terms that these arguments of `compare` stand for; raises InvalidArgument for one that cannot be used."""
    size = problem.training.batch_size if batch_size is None else batch_size
    least = max(team.cost(0) for team in teams)
    for name, value, smallest in (
        ("batch_size", size, 1),
        ("seeds", seeds, 1),
        ("tune", tune, 0),
        ("seed", seed, 0),
        ("budget", least if budget is None else budget, least),
        ("tuning_budget", least if tuning_budget is None else tuning_budget, least),
    ):
        if value < smallest:
            raise InvalidArgument(f"{name} must be at least {smallest}, got {value}")
    budget = budget or max(problem.training.epochs * batches_per_epoch(problem.train, size), least)
    if tuner not in (*get_args(Tuner), None):
        raise InvalidArgument(f'tuner must be "grid", "optuna" or None, got {tuner!r}')
    require(cast("Tuner", tuner or "grid"))
    make, schedule_name = _schedule(schedule, budget)
    return Terms(
        tuple(teams),
        budget,
        tuning_budget or max(budget // 2, least),
        tuple(range(seed + 1, seed + 1 + seeds)),
        0 if tuner is None else tune,
        cast("Tuner", tuner or "grid"),
        make,
        schedule_name,
        _metric(problem, metric),
        size,
        seed,
    )


def _metric(problem: Problem, metric: str | None) -> Metric:
    metric = metric or ("train loss" if problem.test is None else "test loss")
    known = [
        f"{split} {name}"
        for split in (("train",) if problem.test is None else ("train", "test"))
        for name in problem.metrics
    ]
    if metric not in known or metric not in get_args(Metric):
        raise InvalidArgument(f"metric must be one of {', '.join(known)} for {problem.name}, got {metric!r}")
    return cast("Metric", metric)


def _schedule(schedule: str | MakeSchedule | None, budget: int) -> tuple[MakeSchedule | None, str | None]:
    """How to make the schedule of a rate, and a text that tells it from others."""
    if schedule is None or schedule == "constant":
        return None, None
    if isinstance(schedule, str):
        name = schedule

        def make(rate: float, steps: int) -> schedules.Schedule:
            return schedules.get(name, rate=rate, steps=steps)

        make(1.0, budget)
        return make, name
    made = schedule(1.0, budget)
    if not isinstance(made, schedules.Schedule):  # pyright: ignore[reportUnnecessaryIsInstance] - users' functions
        raise InvalidArgument(f"schedule must give a Schedule for a rate and a number of steps, got {made!r}")
    return schedule, repr(made)
