"""Learning rates on the command line: given, or chosen from a grid, and the schedules they begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from thalweg.optim.descent import Descent
    from thalweg.optim.outcomes import Kind
    from thalweg.schedules import Schedule

AUTO = "auto"
LINE_SEARCHED = "steepest_descent"
"""The optimizer that has a line search in place of a rate."""

GRID = tuple(float(f"{digit}e{power}") for power in range(-7, 2) for digit in (1, 3))[:-1]
"""The rates that are tried: 1 and 3 of every decade, from 10⁻⁷ to 10."""

_MOST_KEPT = 1000

SCHEDULES = ("constant", "cosine", "exponential", "linear", "step", "warmup")


@dataclass(frozen=True)
class Entry:
    """An optimizer of a race; `lr` is None for a rate that is to be chosen, nan for a line search."""

    optimizer: str
    lr: float | None
    line_search: str = ""


def given_rates(text: str) -> list[float] | None:
    """The positive rates in a comma-separated list; None for "auto". Raises InvalidArgument for anything else."""
    if text.strip().lower() == AUTO:
        return None
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidArgument(
            f"--lr must be a number, numbers with commas between, or auto, got {text!r}"
        ) from error
    # Optimizers take a rate of 0, as torch's do; a command that goes nowhere is a mistake.
    if not all(0 < rate < math.inf for rate in rates):
        raise InvalidArgument(f"--lr must be positive and finite, got {text!r}")
    return rates


def entries(optimizers: str, lr: str, line_search: str | None) -> list[Entry]:
    """The optimizers with their rates. Raises InvalidArgument where the numbers of both do not fit."""
    names = [name.strip() for name in optimizers.split(",") if name.strip()]
    if not names:
        raise InvalidArgument("--optimizers must name at least one")
    if line_search is not None and LINE_SEARCHED not in names:
        raise InvalidArgument(f"--line-search is for {LINE_SEARCHED}, got --optimizers {optimizers}")
    rated, rates = [name for name in names if name != LINE_SEARCHED], given_rates(lr)
    if rates is not None and not rated:
        raise InvalidArgument(f"--lr is not for {LINE_SEARCHED}, which has no rate, got {lr!r}")
    pairs: list[tuple[str, float | None]]
    if rates is None:
        pairs = [(name, None) for name in rated]
    elif len(rates) == 1 or len(rated) == len(rates):
        pairs = list(zip(rated, rates if len(rates) > 1 else rates * len(rated), strict=True))
    elif len(rated) == 1:
        pairs = [(rated[0], rate) for rate in rates]
    else:
        raise InvalidArgument(
            f"--lr must hold one rate for all, or one for each of the {len(rated)} optimizers with a rate, "
            f"got {len(rates)}"
        )
    if len(set(pairs)) < len(pairs) or len(names) > len(rated) + 1:
        raise InvalidArgument(f"--optimizers must not name one twice at the same rate, got {optimizers}")
    searched = Entry(LINE_SEARCHED, math.nan, line_search or "exact")
    return [
        entry
        for name in dict.fromkeys(names)
        for entry in (
            [Entry(*pair) for pair in pairs if pair[0] == name] if name != LINE_SEARCHED else [searched]
        )
    ]


def rate_schedule(name: str | None, steps: int) -> Callable[[float], float | Schedule]:
    """What makes of a rate the schedule `name` over so many steps that begins with it; the rate itself for None.

    step: a tenth after each third. exponential: to a hundredth. cosine, linear: to zero. warmup: a linear rise over
    the first tenth, then cosine. Raises InvalidArgument for another name.
    """
    from thalweg import schedules

    first = max(steps // 10, 1)
    made: dict[str, Callable[[float], Schedule]] = {
        "constant": schedules.constant,
        "cosine": lambda rate: schedules.cosine(rate, steps),
        "exponential": lambda rate: schedules.exponential(rate, 0.01 ** (1 / steps)),
        "linear": lambda rate: schedules.linear(rate, steps),
        "step": lambda rate: schedules.step(rate, every=-(-steps // 3)),
        "warmup": lambda rate: schedules.warmup(first, then=schedules.cosine(rate, max(steps - first, 1))),
    }
    if name is None:
        return lambda rate: rate
    if name not in made:
        raise InvalidArgument(f"--schedule must be one of {', '.join(SCHEDULES)}, got {name!r}")
    return made[name]


def kept(steps: int) -> int:
    """Every which iterate of a trial is looked at: all of them, of long ones a thousand, so that they fit in memory."""
    return -(-steps // _MOST_KEPT)


def best_rate(tried: Descent, rates: Sequence[float], bounds: Tensor) -> float:
    """The best of the rates tried on a surface with `bounds` (n, 2), by what its descents from all starts did.

    In this order: the fewest diverged, the most ended at a minimum without having left the bounds, the most stayed
    within them, the most ended at a minimum, the lowest mean final loss.
    """
    import numpy as np

    from thalweg.optim.outcomes import KINDS

    def ended(kind: Kind) -> np.ndarray:
        return tried.outcome.kind == KINDS.index(kind)

    low, high = bounds.unbind(1)
    # Of numbers that are not finite neither comparison holds.
    inside = ((tried.path >= low) & (tried.path <= high)).all(-1).all(-1).cpu().numpy()
    diverged, settled = ended("diverged"), ended("converged")
    final: np.ndarray = tried.loss[..., -1].double().cpu().numpy()
    loss = np.where(np.isfinite(final), final, np.inf).mean(axis=1)
    wanted = (~diverged, settled & inside, inside, settled)
    return rates[int(np.lexsort((loss, *(-good.sum(axis=1) for good in reversed(wanted))))[0])]
