"""Trials and races, each kept in the run folder as soon as it is done."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from thalweg.comparison.contenders import Contender
from thalweg.comparison.judging import lower_is_better
from thalweg.comparison.terms import Terms
from thalweg.comparison.trial import Trial, train
from thalweg.comparison.tuning import Tuned, tune
from thalweg.problems import Problem
from thalweg.store import Run
from thalweg.surveys import Progress

POINTS = 24
"""Evaluations of the model along each race, besides the one at the start."""


class Work:
    """Trials and races under `terms`; those that `run` holds already are read from it."""

    def __init__(self, run: Run, terms: Terms, progress: Progress | None) -> None:
        self.run = run
        self.terms = terms
        self.progress = progress

    def tuned(self, team: Contender, problem: Problem) -> Tuned:
        """The rate of `team`, by trials on `problem`."""
        terms = self.terms
        if not terms.trials:
            return Tuned(team.default_rate, ())
        self._begin(f"tuning {team.name}")
        sign = 1 if lower_is_better(terms.metric) else -1

        def score(number: int, rate: float) -> float:
            name = f"trial.{self._place(team)}.{number:02d}"
            done: Any = self.run.result(name)
            if done is None:
                begun = time.perf_counter()
                trial = train(
                    problem,
                    team,
                    rate,
                    budget=terms.tuning_budget,
                    batch_size=terms.batch_size,
                    seed=terms.seed,
                    schedule=terms.schedule,
                    advance=self._advance(number, terms.trials, terms.tuning_budget),
                )
                done = _written(trial) | {"rate": rate, "final": trial.rows[-1]}
                self.run.put_result(name, done, time.perf_counter() - begun)
            return math.inf if done["diverged"] else sign * float(done["final"][terms.metric])

        return tune(team.default_rate, terms.trials, score, tuner=terms.tuner, seed=terms.seed)

    def raced(self, team: Contender, problem: Problem, rate: float) -> list[Trial]:
        """The races of `team` at its rate, one for each seed."""
        terms = self.terms
        self._begin(f"racing {team.name}")
        races: list[Trial] = []
        for place, seed in enumerate(terms.seeds):
            name = f"race.{self._place(team)}.{seed}"
            if self.run.result(name) is None:
                begun = time.perf_counter()
                trial = train(
                    problem,
                    team,
                    rate,
                    budget=terms.budget,
                    batch_size=terms.batch_size,
                    seed=seed,
                    schedule=terms.schedule,
                    points=POINTS,
                    advance=self._advance(place, len(terms.seeds), terms.budget),
                )
                for row in trial.rows:
                    values = {_key(key): value for key, value in row.items() if key != "evaluations"}
                    self.run.put_row(name, int(row["evaluations"]), values)
                # Last: with it the race counts as run.
                result = _written(trial) | {"rate": rate, "rows": trial.rows}
                self.run.put_result(name, result, time.perf_counter() - begun)
            races.append(_read(self.run.result(name)))
        return races

    def _place(self, team: Contender) -> str:
        # Different options can read the same once the signs between them are gone.
        return f"{self.terms.teams.index(team):02d}-{team.slug}"[:160]

    def _begin(self, label: str) -> None:
        if self.progress is not None:
            self.progress.stage(label)

    def _advance(self, place: int, count: int, budget: int) -> Callable[[int], None] | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda used: progress.advance(place * budget + used, count * budget)


def _written(trial: Trial) -> dict[str, Any]:
    return {key: value for key, value in asdict(trial).items() if key != "rows"}


def _read(stored: Any) -> Trial:
    return Trial(**{key: value for key, value in stored.items() if key != "rate"})


def _key(name: str) -> str:
    return re.sub(r"\W", "_", name)
