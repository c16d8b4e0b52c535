"""Eigenvalues from both ends of a spectrum, with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, vector
from thalweg.plots.canvas import axes_for, legend_below
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def eigenvalues(
    values: ArrayLike,
    residuals: ArrayLike | None = None,
    converged: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    size: int | None = None,
) -> Axes:
    """Draw eigenvalues (k,) in descending order, blue above zero and vermilion below.

    Parameters
    ----------
    residuals: (k,) ‖Hv − λv‖, the error bars. converged: (k,) booleans; those that are not are hollow.
    size: dimension of the matrix. When above k, the values are the largest ⌈k/2⌉ and the smallest ⌊k/2⌋ and a
        gap between them stands for the rest; their ranks are written below.

    When magnitudes span a factor above 100 the axis is logarithmic, or so on both sides of zero.
    """
    eigen = vector(values, "values")
    count = eigen.size
    errors = np.zeros(count) if residuals is None else vector(residuals, "residuals", count)
    solid = (
        np.ones(count, dtype=bool)
        if converged is None
        else vector(converged, "converged", count).astype(bool)
    )
    ax = axes_for(ax)
    top = count if size is None or size <= count else (count + 1) // 2
    places = np.arange(count, dtype=np.float64) + np.where(np.arange(count) < top, 0.0, 1.5)
    _scale(ax, eigen, errors)
    foot = ax.get_ylim()[0] if ax.get_yscale() == "log" else 0.0
    for chosen, color in ((eigen >= 0, COLORS["blue"]), (eigen < 0, COLORS["vermilion"])):
        if chosen.any():
            at, value = places[chosen], eigen[chosen]
            ax.errorbar(at, value, errors[chosen], fmt="o", ms=5, color=color, capsize=3)
            ax.vlines(at, foot, value, color=color, lw=1, alpha=0.4)
    if not solid.all():
        hollow: dict[str, Any] = {"mfc": "white", "mec": "black", "label": "not converged", "zorder": 5}
        legend_below(ax, ax.plot(places[~solid], eigen[~solid], "o", **hollow))
    if ax.get_yscale() != "log":
        ax.axhline(0, color=COLORS["grey"], lw=0.8)
    if size is not None and size > count:
        ax.text(
            top + 0.25,
            0.5,
            f"{size - count:,} more between",
            transform=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            color=COLORS["grey"],
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
    ranks = [i + 1 if i < top or size is None else size - count + i + 1 for i in range(count)]
    _tick(ax, places, ranks)
    ax.set_xlabel("rank")
    ax.set_ylabel("eigenvalue λ")
    return ax


def _scale(ax: Axes, eigen: Floats, errors: Floats) -> None:
    sizes = np.abs(eigen[eigen != 0])
    wide = bool(sizes.size) and bool(sizes.max() > 100 * sizes.min())
    low, high = float(eigen.min(initial=0.0)), float(eigen.max(initial=0.0))
    if wide and eigen.size == (eigen > 0).sum():
        ax.set_yscale("log")
        ax.set_ylim(float(sizes.min()) / 2, high * 2)
        label_decades(ax.yaxis)
    elif wide:
        # Below an eigenvalue's error, or far below the largest, decades mean nothing.
        threshold = max(float(sizes.min()), float(errors.max()), float(sizes.max()) * 1e-6)
        ax.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(threshold)), linscale=0.5)
        ax.set_ylim(2 * low, 2 * high)
        label_decades(ax.yaxis)
    elif low < high:
        margin = 0.06 * (high - low)
        ax.set_ylim(low - margin if low else 0.0, high + margin if high else 0.0)


def _tick(ax: Axes, places: Floats, ranks: list[int]) -> None:
    # Large ranks are long words: only the ends of each run are written.
    long = len(ranks) > 12 or max(ranks, default=0) > 999
    breaks = [i for i in range(1, len(ranks)) if ranks[i] != ranks[i - 1] + 1]
    ends = {0, len(ranks) - 1, *breaks, *(i - 1 for i in breaks)}
    ax.set_xticks(places, [f"{rank:,}" if not long or i in ends else "" for i, rank in enumerate(ranks)])
