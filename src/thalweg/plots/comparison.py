"""Optimizers against each other: how the loss fell, and which rates they were tuned to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.end_labels import end_labels
from thalweg.plots.optimizer_looks import optimizer_looks
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thalweg.comparison import Comparison

_MARKERS = "osD^vPX"
_TARGET = "#767676"


def seed_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    ax: Axes | None = None,
    *,
    quantity: str = "loss",
    step: str = "gradient evaluations",
    goal: float | None = None,
    rising: bool = False,
) -> Axes:
    """Draw a quantity over training, one curve per optimizer: the mean over its seeds in a band of all of them.

    Parameters
    ----------
    curves: by label, steps (m,) and values (s, m) of s seeds; NaN where a seed has diverged.
    quantity, step: what the axes are. goal: a value to mark by a horizontal line. rising: whether more is better, as
        of accuracies: the axis is linear then and holds all values.

    Labels stand at the ends of their curves. The axis is logarithmic where positive values span a factor above 10; it
    ends a little above the highest first value, so that what blows up leaves it.
    Raises InvalidArgument for no curve, or for a wrong shape.
    """
    if not curves:
        raise InvalidArgument("curves must hold at least one optimizer")
    ax = axes_for(ax)
    ends: dict[str, tuple[float, str]] = {}
    firsts: list[float] = []
    lows: list[float] = []
    last = 0.0
    for (label, (steps, values)), (color, dashes) in zip(
        curves.items(), optimizer_looks(list(curves)), strict=True
    ):
        where = vector(steps, f"steps of {label!r}")
        table = np.array(values, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != where.size or not table.size:
            raise InvalidArgument(f"curves[{label!r}] must have shape (s, {where.size}), got {table.shape}")
        table[~np.isfinite(table)] = np.nan
        # Where a seed has diverged there is no mean to be shown.
        mean = table.mean(axis=0)
        ax.plot(where, mean, color=color, ls=dashes)
        if len(table) > 1:
            ax.fill_between(where, table.min(axis=0), table.max(axis=0), color=color, alpha=0.15, lw=0)
        known = mean[np.isfinite(mean)]
        ends[label] = (float(known[-1]) if known.size and np.isfinite(mean[-1]) else np.nan, color)
        firsts += known[:1].tolist()
        lows += table[np.isfinite(table)].tolist()
        last = max(last, float(where[-1]))
    _scale(ax, np.array(lows), np.array(firsts), rising)
    if goal is not None and np.isfinite(goal):
        ax.plot([0, last], [goal, goal], color=_TARGET, lw=0.9, ls=(0, (2, 2)))
        ends["target"] = (goal, _TARGET)
    ax.set_xlim(0, last)
    ax.set_xlabel(step)
    ax.set_ylabel(quantity)
    marked = {name if np.isfinite(end) else f"{name} (diverged)": (end, c) for name, (end, c) in ends.items()}
    end_labels(ax, marked, last)
    return ax


def tuning_curves(
    trials: Mapping[str, tuple[ArrayLike, ArrayLike]],
    ax: Axes | None = None,
    *,
    chosen: Mapping[str, float] | None = None,
    quantity: str = "loss",
    ceiling: float | None = None,
    rising: bool = False,
    legend: bool = True,
) -> Axes:
    """Draw what each learning rate came to, one curve per optimizer, with the chosen rate ringed.

    Parameters
    ----------
    trials: by label, rates (k,) and scores (k,) in any order, NaN for a trial that diverged: those are crosses at the
        top. chosen: the rate of each label. quantity: what the scores are. ceiling: scores above it are drawn there.
        rising: whether more is better, for which the axis is linear. legend: whether to put one below.

    Raises InvalidArgument for no trials, or for a wrong shape.
    """
    if not any(np.size(rates) for rates, _ in trials.values()):
        raise InvalidArgument("trials must hold at least one rate")
    from matplotlib.lines import Line2D

    ax = axes_for(ax)
    ax.set_xscale("log")
    every: list[float] = []
    lost: list[tuple[Floats, str]] = []
    ringed = False
    keys: list[Any] = []
    for place, ((label, (rates, scores)), (color, dashes)) in enumerate(
        zip(trials.items(), optimizer_looks(list(trials)), strict=True)
    ):
        where = vector(rates, f"rates of {label!r}")
        heights = vector(scores, f"scores of {label!r}", where.size)
        order = np.argsort(where)
        where, heights = where[order], heights[order]
        finite = np.isfinite(heights)
        shown = heights if ceiling is None else np.minimum(heights, ceiling)
        marker = _MARKERS[place % len(_MARKERS)]
        # The first are the widest, so that of curves that coincide each is seen.
        wide = 1.6 * (1 - place / len(trials))
        line: dict[str, Any] = {
            "color": color,
            "ls": dashes,
            "marker": marker,
            "ms": 4 + wide,
            "lw": 1.0 + wide,
        }
        keys += ax.plot(where[finite], shown[finite], label=literal(label), **line)
        every += shown[finite].tolist()
        if not finite.all():
            lost.append((where[~finite], color))
        rate = (chosen or {}).get(label)
        if rate is not None and finite.any():
            best = int(np.abs(np.log(where) - np.log(rate)).argmin())
            ax.plot(where[best], shown[best], marker="o", ms=9, mfc="none", mec=color, mew=1.3)
            ringed = True
    values = np.array(every)
    if not rising and values.size and values.min() > 0 and values.max() > 10 * values.min():
        ax.set_yscale("log")
        label_decades(ax.yaxis)
    for where, color in lost:
        ax.plot(
            where,
            np.ones_like(where),
            "x",
            color=color,
            ms=5,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    label_decades(ax.xaxis)
    ax.set_xlabel("learning rate η")
    ax.set_ylabel(quantity)
    if legend:
        blank: dict[str, Any] = {"ls": "", "mfc": "none", "mec": "black"}
        if ringed:
            keys.append(Line2D([], [], marker="o", ms=9, mew=1.3, label="chosen", **blank))
        if lost:
            keys.append(Line2D([], [], marker="x", ms=5, label="diverged", **blank))
        legend_below(ax, keys, columns=_columns(list(trials)))
    return ax


def comparison(found: Comparison, title: str | None = None) -> Figure:
    """A figure of a comparison: learning curves over gradient evaluations, and scores against rates from the tuning.

    Where nothing was tuned the curves stand alone. `title` is the problem's name when None.
    """
    from matplotlib.figure import Figure

    names = [entry.optimizer for entry in found.entries]
    tuned = any(entry.trials for entry in found.entries)
    legend = 0.22 * math.ceil((len(names) + 2) / _columns(names)) if tuned else 0.0
    figure = Figure(figsize=(11.0 if tuned else 6.6, 4.4 + legend), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, 2 if tuned else 1, squeeze=False)[0]
    rising = not found.metric.endswith("loss")
    figure.suptitle(literal(found.problem if title is None else title))
    if tuned:
        scores = {
            entry.optimizer: ([rate for rate, _ in entry.trials], [score for _, score in entry.trials])
            for entry in found.entries
        }
        what = found.metric.replace("test", "held-out")
        highest = [row[0] for entry in found.entries for row in entry.curve.values[found.metric]]
        tuning_curves(
            scores,
            axes[1],
            chosen={name: entry.rate for name, entry in zip(names, found.entries, strict=True)},
            quantity=f"{what} after {found.tuning_budget} gradient evaluations",
            ceiling=None if rising else 2 * max(highest),
            rising=rising,
        )
        # Names at the ends of curves are placed by the size that the Axes have once the legend has its room.
        figure.draw_without_rendering()
    seed_curves(
        {
            entry.optimizer: (entry.curve.evaluations, entry.curve.values[found.metric])
            for entry in found.entries
        },
        axes[0],
        quantity=f"{found.metric}, mean and range of {len(found.seeds)} seeds",
        goal=None if rising else found.goal_loss,
        rising=rising,
    )
    return figure


def _columns(labels: Sequence[str]) -> int:
    """As many columns of a legend as fit under an Axes of about five inches."""
    # Points: a letter of nine has about five, and a key with its gaps forty.
    return min(max(340 // (5 * max(map(len, labels)) + 40), 1), 3)


def _scale(ax: Axes, values: Floats, firsts: Floats, rising: bool) -> None:
    """A logarithmic axis where the values ask for it, up to a little above where the curves begin."""
    if not values.size or not firsts.size:
        return
    low, high = float(values.min()), float(values.max())
    if not rising:
        high = min(high, 1.5 * float(firsts.max()))
    if not rising and low > 0 and high > 10 * low:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.3, high * 1.3)
        label_decades(ax.yaxis)
    elif high > low:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
