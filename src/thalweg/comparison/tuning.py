"""The learning rate of an optimizer, chosen by trials on held-out data."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from thalweg.comparison.rates import FIRST, at_edge, best_place, next_place, rate_at
from thalweg.errors import InvalidArgument

Tuner: TypeAlias = Literal["grid", "optuna"]

Score: TypeAlias = Callable[[int, float], float]
"""From the number of a trial and its rate to its score, the lower the better, infinite where it diverged."""

SPAN = 1000.0
"""How far from the default rate, as a factor, Optuna's sampler looks."""


@dataclass(frozen=True)
class Tuned:
    """The rate of the best trial, of (rate, score) in the order they were made; the lower the score the better.

    at_edge: the best is the lowest or highest rate tried, so that a better one may lie beyond. extended: the grid
    has grown because the best was at its edge.
    """

    rate: float
    trials: tuple[tuple[float, float], ...]
    at_edge: bool = False
    extended: bool = False


def tune(default: float, trials: int, score: Score, *, tuner: Tuner = "grid", seed: int = 0) -> Tuned:
    """The best of `trials` learning rates around `default`.

    "grid": half decades around the default, extended while the best is at the edge, then refined around the best:
    see `rates.next_place`.
    "optuna": the tree-structured Parzen estimator on the logarithm of the rate, drawn by `seed`, within a factor of
    1000 of the default. Both depend on the scores alone, so that trials whose score is known need not be made again.

    Raises InvalidArgument for "optuna" where it is not installed.
    """
    require(tuner)
    if tuner == "optuna":
        return _by_optuna(default, trials, score, seed)
    scores: dict[float, float] = {}
    extended = False
    for number in range(trials):
        place = next_place(scores)
        extended = extended or (
            number >= len(FIRST) and (at_edge(scores) or not math.isfinite(min(scores.values())))
        )
        scores[place] = score(number, rate_at(place, default))
    made = tuple((rate_at(place, default), value) for place, value in scores.items())
    return Tuned(rate_at(best_place(scores), default), made, at_edge(scores), extended)


def _by_optuna(default: float, trials: int, score: Score, seed: int) -> Tuned:
    made: list[tuple[float, float]] = []
    study = _study(seed)
    for number in range(trials):
        trial = study.ask()
        rate = trial.suggest_float("rate", default / SPAN, default * SPAN, log=True)
        made.append((rate, score(number, rate)))
        # The sampler models finite values only.
        worst = max((value for _, value in made if math.isfinite(value)), default=0.0)
        value = made[-1][1]
        study.tell(trial, value if math.isfinite(value) else worst + abs(worst) + 1)
    rates = [rate for rate, _ in made]
    best = min(made, key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf)[0]
    return Tuned(best, tuple(made), len(made) > 1 and best in (min(rates), max(rates)))


def require(tuner: Tuner) -> None:
    """Raise InvalidArgument where `tuner` is not installed."""
    if tuner == "optuna" and importlib.util.find_spec("optuna") is None:
        raise InvalidArgument(
            'tuner "optuna" needs the package optuna: install thalweg[tuning], or take tuner="grid"'
        )


def _study(seed: int) -> Any:
    import optuna  # pyright: ignore[reportMissingImports] - an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
