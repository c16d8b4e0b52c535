"""The learning-rate range test: one short run with a growing rate (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch.utils._pytree import tree_map

from thalweg.comparison.contenders import contender
from thalweg.comparison.task import as_problem
from thalweg.comparison.trial import endless
from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.objective.preserved import preserved_rng
from thalweg.problems import Problem
from thalweg.surveys import resolve
from thalweg.surveys.optimizers import NotFinite, take_step

Floats = NDArray[np.float64]

SAFETY = 3.0
"""How far below the blow-up a suggested rate stays at least, as a factor."""
_NOISE = 4.0
"""Standard deviations by which the loss must fall."""


@dataclass(frozen=True)
class RangeTest:
    """Losses under a learning rate that grows by the same factor at each step.

    rates, losses, smoothed (k,): of every step that was made, the loss being the minibatch's before the step.
    lowest: the rate at which the smoothed loss is lowest. steepest: the rate before it at which it falls fastest, per
    decade of the rate. blow_up: the first rate behind it at which half of the fall is lost again or the loss is not
    finite; None where that did not come. suggestion: a rate to train with, None where the loss did not fall; reason:
    why, in a sentence. evaluations: gradients taken.
    """

    optimizer: str
    rates: tuple[float, ...] = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)
    smoothed: tuple[float, ...] = field(repr=False)
    lowest: float
    steepest: float | None
    blow_up: float | None
    suggestion: float | None
    reason: str
    evaluations: int


def range_test(
    target: object,
    optimizer: str = "adamw",
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 200,
    batch_size: int | None = None,
    seed: int = 0,
) -> RangeTest:
    """Train for `steps` minibatches with a rate growing exponentially from `low` to `high`, and read off a good one.

    The suggestion is the rate at which the loss falls fastest, or a third of the rate at which training blows up
    where that is lower. It is a start for tuning, not its result: the run is short, its rate is never held, and later
    in training smaller rates can be needed. The model is a fresh one of the problem, or a copy of the one given; it
    and global random states are as before.

    Parameters
    ----------
    target, optimizer: as in `compare`; every other hyperparameter is the optimizer's own.
    batch_size: samples per step, the problem's when None. seed: of initial weights and minibatches.

    Raises InvalidArgument for rates that are not positive and growing, fewer than 20 steps, or a loss that is not
    finite before the first step; UnknownName for an optimizer that is none.

    Source: Smith (2017), Cyclical learning rates for training neural networks, section 3.3, with a rate growing
    exponentially rather than linearly.
    """
    if not 0 < low < high < math.inf:
        raise InvalidArgument(f"low and high must be positive, finite and growing, got {low} and {high}")
    if steps < 20:
        raise InvalidArgument(f"steps must be at least 20, got {steps}")
    size = batch_size
    if size is not None and size < 1:
        raise InvalidArgument(f"batch_size must be at least 1, got {size}")
    contender(optimizer)
    problem = as_problem(resolve(target))
    rates = np.geomspace(low, high, steps)
    losses, used = _run(problem, optimizer, rates, size or problem.training.batch_size, seed)
    return read(optimizer, rates, losses, used)


def _run(problem: Problem, optimizer: str, rates: Floats, size: int, seed: int) -> tuple[list[float], int]:
    """The loss of each minibatch up to the first that is not finite, which is included, and the gradients taken."""
    model = problem.make_model(seed)
    objective = problem.train_objective(model)
    made = contender(optimizer).make(model, float(rates[0]), objective)
    losses: list[float] = []
    used = 0
    model.train()
    with preserved_rng():
        torch.manual_seed(seed)
        batches = endless(problem.train, size, seed)
        for rate in rates:
            for group in made.param_groups:
                group["lr"] = float(rate)
            batch = tree_map(objective.batches.placed, next(batches))
            try:
                loss, taken = take_step(made, lambda batch=batch: objective.module(batch), batch)
            except NotFinite:
                losses.append(math.nan)
                break
            losses.append(loss)
            used += taken
    if not math.isfinite(losses[0]):
        raise InvalidArgument(f"the loss of {problem.name} is not finite before the first step")
    return losses, used


def read(
    optimizer: str, rates: Sequence[float] | Floats, losses: Sequence[float], evaluations: int
) -> RangeTest:
    """What losses (k,) say that were found at growing rates (k or more,); a last one may be NaN."""
    heights = np.asarray(losses, dtype=np.float64)
    ended = not math.isfinite(heights[-1])
    where = np.asarray(rates, dtype=np.float64)[: heights.size]
    # A loss takes part in the scale no further than it matters: one of 10³⁰ would hide all others.
    finite = heights[np.isfinite(heights)]
    ceiling = finite[0] + 4 * abs(finite[0])
    width = max(len(rates) / 50, 1.0)
    smoothed = gaussian_filter1d(
        np.minimum(np.nan_to_num(heights, nan=ceiling), ceiling), width, mode="nearest"
    )
    start = float(finite[: max(len(rates) // 20, 2)].mean())
    # From differences of neighbours, in which the fall that has begun counts little.
    noise = (
        float(np.diff(finite[: max(len(rates) // 3, 3)]).std()) / math.sqrt(2)
        if finite.size > 2
        else math.inf
    )
    bottom = int(smoothed.argmin())
    fall = start - float(smoothed[bottom])
    # A Gaussian of this width averages as many losses as 2√π widths; the start is a mean of about as many.
    fell = fall > _NOISE * noise * math.sqrt(2 / (2 * math.sqrt(math.pi) * width)) and bottom > 0
    lost = np.flatnonzero(smoothed[bottom:] > start - fall / 2)
    blown = bottom + int(lost[0]) if lost.size and fell else (heights.size - 1 if ended else None)
    blow_up = None if blown is None else float(where[blown])
    if not fell:
        reason = (
            "At no rate did the loss fall by more than its noise between minibatches: nothing to suggest."
        )
        return _found(optimizer, where, heights, smoothed, bottom, None, blow_up, None, reason, evaluations)
    slope = np.gradient(smoothed, np.log10(where))
    steepest = float(where[int(slope[: bottom + 1].argmin())])
    suggestion, reason = steepest, f"The loss falls fastest at {number(steepest, 2)}"
    if blow_up is None:
        reason += f"; it did not blow up by {number(float(where[-1]), 2)}."
    elif steepest > blow_up / SAFETY:
        suggestion = blow_up / SAFETY
        reason = (
            f"A third of {number(blow_up, 2)}, where the loss has lost half of its fall again: it falls fastest too "
            f"near to that, at {number(steepest, 2)}."
        )
    else:
        reason += f", well below {number(blow_up, 2)}, where it has lost half of its fall again."
    return _found(
        optimizer, where, heights, smoothed, bottom, steepest, blow_up, suggestion, reason, evaluations
    )


def _found(
    optimizer: str,
    rates: Floats,
    losses: Floats,
    smoothed: Floats,
    bottom: int,
    steepest: float | None,
    blow_up: float | None,
    suggestion: float | None,
    reason: str,
    evaluations: int,
) -> RangeTest:
    return RangeTest(
        optimizer,
        tuple(rates.tolist()),
        tuple(losses.tolist()),
        tuple(smoothed.tolist()),
        float(rates[bottom]),
        steepest,
        blow_up,
        suggestion,
        reason,
        evaluations,
    )
