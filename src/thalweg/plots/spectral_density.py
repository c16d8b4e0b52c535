"""The density of a matrix's eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import vector
from thalweg.plots.canvas import axes_for, legend_below
from thalweg.plots.style import COLORS
from thalweg.plots.ticks import label_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DECADES = 6.0


def spectral_density(
    grid: ArrayLike,
    density: ArrayLike,
    stderr: ArrayLike | None = None,
    eigenvalues: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    width: float | None = None,
    size: int | None = None,
    references: Mapping[str, ArrayLike] | None = None,
) -> Axes:
    """Draw the density (m,) of eigenvalues per unit of λ over λ `grid` (m,), on a logarithmic axis.

    Parameters
    ----------
    stderr: (m,) one standard error, the band. eigenvalues: (k,) known ones, ticks at the bottom.
    width, size: standard deviation of the Gaussian that smoothed it, and the matrix's dimension; given both,
        a dotted line shows the height that a single eigenvalue has.
    references: name to the density (m,) of another law on the same grid, such as a random matrix's, dashed.
    """
    where, height = vector(grid, "grid"), vector(density, "density")
    band = np.zeros_like(height) if stderr is None else vector(stderr, "stderr", height.size)
    ax = axes_for(ax)
    top = float(np.nanmax(height + band, initial=0.0)) or 1.0
    floor = top * 10**-_DECADES
    single = 1 / (size * width * math.sqrt(2 * math.pi)) if width and size else None
    if single is not None:
        floor = max(floor, min(single, top) / 30)
    drawn: list[object] = [
        ax.fill_between(
            where,
            np.maximum(height - band, floor / 10),
            np.maximum(height + band, floor / 10),
            color=COLORS["blue"],
            alpha=0.25,
            lw=0,
            label="± 1 standard error",
        )
    ]
    drawn += ax.plot(where, np.maximum(height, floor / 10), color=COLORS["blue"], label="density")
    looks = zip((references or {}).items(), (("green", "--"), ("purple", "-.")), strict=False)
    for (name, other), (color, dashes) in looks:
        heights = vector(other, f"references[{name!r}]", where.size)
        drawn += ax.plot(
            where, np.where(heights > 0, heights, np.nan), dashes, color=COLORS[color], label=name
        )
    if single is not None:
        drawn.append(ax.axhline(single, color=COLORS["grey"], lw=0.9, ls=":", label="one eigenvalue alone"))
    ax.axvline(0, color=COLORS["grey"], lw=0.9)
    if eigenvalues is not None:
        known = vector(eigenvalues, "eigenvalues")
        drawn.append(
            ax.vlines(
                known,
                0,
                0.06,
                transform=ax.get_xaxis_transform(),
                color=COLORS["vermilion"],
                lw=1.3,
                label="eigenvalues computed alone",
            )
        )
    ax.set_yscale("log")
    ax.set_ylim(floor, top * 2)
    label_decades(ax.yaxis)
    ax.set_xlabel("eigenvalue λ")
    ax.set_ylabel("density of eigenvalues per unit of λ")
    legend_below(ax, drawn, columns=2)
    return ax
