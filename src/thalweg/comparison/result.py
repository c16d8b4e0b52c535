"""What a comparison found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.comparison.intervals import Estimate


@dataclass(frozen=True)
class Curve:
    """Values over a training, for all seeds.

    evaluations: gradient evaluations (m,) at which the model was evaluated, the first 0. values: by quantity
    ("train loss", "test accuracy", …) one list (m,) per seed, with NaN from a divergence on.
    """

    evaluations: tuple[float, ...]
    values: dict[str, tuple[tuple[float, ...], ...]] = field(repr=False)


@dataclass(frozen=True)
class Goal:
    """What it took to come to the common target loss: means over the seeds that reached it, of which `reached` says
    how many, with intervals; `evaluations` counts gradients, `epochs` passes over the training data.

    Between two evaluations of the model the loss is taken as linear.
    """

    reached: int
    evaluations: Estimate
    steps: Estimate
    epochs: Estimate


@dataclass(frozen=True)
class Entry:
    """One optimizer in a comparison.

    optimizer: as it was named. rate: its tuned learning rate; default_rate: its own. trials: (rate, score) of each
    trial in order, the score being the metric on held-out training data, NaN after a divergence.
    at_edge: the best rate is the lowest or highest one tried; extended: the grid had to grow to reach it.
    final: by quantity, mean and interval over the seeds that did not diverge; diverged: how many did.
    difference: the metric minus the winner's, paired over seeds; None for the winner.
    evaluations, steps, epochs: of one training: gradient evaluations, steps, passes over the training data.
    goal: the way to the common target loss. seconds_per_step: median step, then median over seeds.
    state_bytes: optimizer state in bytes for each parameter. peak_memory: on a CUDA device, in bytes, else None.
    """

    optimizer: str
    rate: float
    default_rate: float
    trials: tuple[tuple[float, float], ...] = field(repr=False)
    at_edge: bool
    extended: bool
    final: dict[str, Estimate]
    difference: Estimate | None
    diverged: int
    evaluations: int
    steps: int
    epochs: float
    goal: Goal
    seconds_per_step: float
    state_bytes: float
    peak_memory: int | None
    curve: Curve = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; `entries` are ranked, the winner first.

    path: the run folder. problem: its name. metric: what was compared, such as "test loss". seeds: of the races;
    tuning_seed: of the trials. budget, tuning_budget: gradient evaluations of each race and each trial. tune: trials
    of each optimizer. goal_loss: the common target loss. sentences: what can be said of it all, in words. notes: what
    was done differently for some optimizer.
    """

    path: Path
    problem: str
    metric: str
    seeds: tuple[int, ...]
    tuning_seed: int
    budget: int
    tuning_budget: int
    tune: int
    tuner: str
    schedule: str | None
    goal_loss: float
    entries: tuple[Entry, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def winner(self) -> Entry:
        """The entry with the best mean of the metric, of those with the fewest divergences."""
        return self.entries[0]

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row of plain numbers per optimizer, ranked: final values as mean, low and high, and what they cost."""
        rows: list[dict[str, Any]] = []
        for entry in self.entries:
            row: dict[str, Any] = {"optimizer": entry.optimizer, "rate": entry.rate}
            for name, value in entry.final.items():
                row |= {name: value.mean, f"{name} low": value.low, f"{name} high": value.high}
            row |= {
                "gradient evaluations": entry.evaluations,
                "steps": entry.steps,
                "epochs": entry.epochs,
                "evaluations to goal": entry.goal.evaluations.mean,
                "steps to goal": entry.goal.steps.mean,
                "epochs to goal": entry.goal.epochs.mean,
                "seeds at goal": entry.goal.reached,
                "seconds per step": entry.seconds_per_step,
                "state bytes per parameter": entry.state_bytes,
                "peak memory": entry.peak_memory,
                "diverged": entry.diverged,
                "best rate at edge": entry.at_edge,
                "grid extended": entry.extended,
            }
            rows.append(row)
        return rows
