"""From the races of every optimizer to ranks, distances and sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from thalweg.comparison.contenders import Contender
from thalweg.comparison.intervals import Estimate, difference, estimate
from thalweg.comparison.result import Curve, Entry, Goal
from thalweg.comparison.trial import Trial
from thalweg.comparison.tuning import Tuned
from thalweg.numbers import number, with_error

Races = Mapping[str, Sequence[Trial]]
"""By the optimizer's name, its race of each seed, in the same order of seeds."""


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of "test loss", "train accuracy" … is the better one."""
    return metric.endswith("loss")


def goal_loss(races: Races, quantity: str) -> float:
    """The lowest loss that every race without a divergence came down to; NaN where all diverged."""
    lowest = [
        min(row[quantity] for row in race.rows)
        for trials in races.values()
        for race in trials
        if not race.diverged
    ]
    return max(lowest, default=math.nan)


def entries(
    contenders: Sequence[Contender],
    tuned: Mapping[str, Tuned],
    races: Races,
    *,
    metric: str,
    goal: float,
    per_epoch: int,
) -> list[Entry]:
    """The optimizers, ranked: by how many seeds diverged, then by the mean of the metric."""
    quantity = goal_quantity(metric)
    finals = {name: _finals(trials, metric) for name, trials in races.items()}
    sign = 1 if lower_is_better(metric) else -1

    def rank(contender: Contender) -> tuple[int, float]:
        mean = sign * estimate(finals[contender.name]).mean
        return sum(race.diverged for race in races[contender.name]), mean if math.isfinite(mean) else math.inf

    ranked = sorted(contenders, key=rank)
    winner = ranked[0].name
    found: list[Entry] = []
    for contender in ranked:
        trials, name = races[contender.name], contender.name
        first = max(trials, key=lambda trial: trial.evaluations)
        quantities = [key for key in trials[0].rows[0] if key not in ("evaluations", "steps")]
        peaks = [trial.peak_memory for trial in trials if trial.peak_memory is not None]
        entry = Entry(
            optimizer=name,
            rate=tuned[name].rate,
            default_rate=contender.default_rate,
            trials=tuple(
                (rate, sign * score if math.isfinite(score) else math.nan)
                for rate, score in tuned[name].trials
            ),
            at_edge=tuned[name].at_edge,
            extended=tuned[name].extended,
            final={key: estimate(_finals(trials, key)) for key in quantities},
            difference=None if name == winner else difference(finals[name], finals[winner]),
            diverged=sum(trial.diverged for trial in trials),
            evaluations=first.evaluations,
            steps=first.steps,
            epochs=first.steps / per_epoch,
            goal=_goal(trials, quantity, goal, per_epoch),
            seconds_per_step=statistics.median(trial.step_seconds for trial in trials),
            state_bytes=max(trial.state_bytes for trial in trials),
            peak_memory=max(peaks, default=None),
            curve=_curve(trials, quantities),
        )
        found.append(entry)
    return found


def goal_quantity(metric: str) -> str:
    """The loss that belongs to a metric: that of the same split."""
    return f"{metric.split()[0]} loss"


def sentences(ranked: Sequence[Entry], metric: str, seeds: int) -> list[str]:
    """The result in words: who is ahead, of whom no difference was seen, and whose rate or run is in doubt."""
    winner = ranked[0]
    if winner.diverged == seeds:
        return ["Every optimizer diverged with every seed: nothing can be compared."]
    best = _shown(winner.final[metric])
    told = [
        f"{winner.optimizer} has the best {metric}, {best}, from one seed, which gives no interval."
        if seeds == 1
        else f"{winner.optimizer} has the best mean {metric}, {best} over {seeds} seeds."
    ]
    for entry in ranked[1:]:
        apart = entry.difference
        if entry.diverged == seeds or apart is None:
            continue
        if seeds > 1 and math.isnan(apart.low):
            told.append(
                f"{entry.optimizer}: too few seeds without a divergence for an interval of the difference to "
                f"{winner.optimizer}."
            )
        elif apart.holds_zero:
            told.append(f"{entry.optimizer}: no difference to {winner.optimizer} seen ({_shown(apart)}).")
        else:
            by = _shown(apart, signed=False)
            told.append(
                f"{entry.optimizer} is behind {winner.optimizer} by {by}{', perhaps by chance' if seeds == 1 else ''}."
            )
    for entry in ranked:
        if entry.diverged:
            told.append(f"{entry.optimizer} diverged with {entry.diverged} of {seeds} seeds.")
        if entry.at_edge and len(entry.trials) > 2:
            told.append(
                f"{entry.optimizer}: its best rate {number(entry.rate, 2)} is at the edge of those tried; "
                "a better one may lie beyond, give it more trials."
            )
    return told


def _shown(value: Estimate, *, signed: bool = True) -> str:
    """The mean with its interval, alone where there is none."""
    mean = value.mean if signed else abs(value.mean)
    return number(mean) if math.isnan(value.half_width) else with_error(mean, value.half_width)


def _finals(trials: Sequence[Trial], quantity: str) -> list[float]:
    # A race that diverged ends with a row of NaN.
    return [trial.rows[-1][quantity] for trial in trials]


def _goal(trials: Sequence[Trial], quantity: str, goal: float, per_epoch: int) -> Goal:
    reached = [_crossing(trial, quantity, goal) for trial in trials]
    found = [pair for pair in reached if pair is not None]
    steps = [pair[1] for pair in found]
    return Goal(
        len(found),
        estimate([pair[0] for pair in found]),
        estimate(steps),
        estimate([count / per_epoch for count in steps]),
    )


def _crossing(trial: Trial, quantity: str, goal: float) -> tuple[float, float] | None:
    """Gradient evaluations and steps at which the loss first is at or below the goal; None where it never is.

    A race that diverges afterwards has not come to stay, and counts as one that never was.
    """
    if trial.diverged:
        return None
    before = None
    for row in trial.rows:
        if row[quantity] <= goal:
            if before is None:
                return row["evaluations"], row["steps"]
            share = (before[quantity] - goal) / (before[quantity] - row[quantity])
            return tuple(  # pyright: ignore[reportReturnType] - of two
                before[key] + share * (row[key] - before[key]) for key in ("evaluations", "steps")
            )
        before = row if math.isfinite(row[quantity]) else None
    return None


def _curve(trials: Sequence[Trial], quantities: Sequence[str]) -> Curve:
    """The rows of all seeds on the evaluations of the longest; NaN where a seed has ended."""
    longest = max(trials, key=lambda trial: (not trial.diverged, len(trial.rows)))
    evaluations = [row["evaluations"] for row in longest.rows]
    values: dict[str, tuple[tuple[float, ...], ...]] = {}
    for key in quantities:
        table = np.full((len(trials), len(evaluations)), math.nan)
        for line, trial in zip(table, trials, strict=True):
            known = {row["evaluations"]: row[key] for row in trial.rows}
            line[:] = [known.get(at, math.nan) for at in evaluations]
        values[key] = tuple(tuple(map(float, line)) for line in table)
    return Curve(tuple(evaluations), values)
