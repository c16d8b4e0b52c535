"""The difference of two slices, in colours that part at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, grid, points, vector
from thalweg.plots.canvas import axes_for, wrapped
from thalweg.plots.ground import Tint, ground
from thalweg.plots.heights import Heights
from thalweg.plots.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BULK = 0.98
DIVERGING = Tint("PuOr_r", "black", 0.0)


def difference(
    alpha: ArrayLike,
    beta: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    bounds: ArrayLike | None = None,
    name: str = "difference of the loss",
    labels: tuple[str, str] = ("α", "β"),
) -> Axes:
    """Draw differences (a, b) over alpha (a,), to the right, and beta (b,), up: white where there is none.

    bounds: (a, b) what interpolation and rounding do not exceed: where a difference is no more than that, the map is
    hatched to the left. Values that are not finite are hatched to the right. The scale is linear and the same on both
    sides of zero; the top two in a hundred are cut off when they would take half of it for themselves.
    """
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    field = grid(values, "values", (x.size, y.size))
    ax = axes_for(ax)
    ground(ax, x, y, field, symmetric(field), name, points(None, "path"), DIVERGING)
    if bounds is not None:
        off = grid(bounds, "bounds", (x.size, y.size))
        open_ = np.isfinite(field) & (np.abs(field) <= off) & (off > 0)
        if open_.any() and not open_.all():
            ax.contourf(x, y, open_.astype(float).T, levels=[0.5, 1.5], colors="none", hatches=["\\\\\\\\"])
    ax.locator_params(nbins=7)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(wrapped(labels[0], 42))
    ax.set_ylabel(wrapped(labels[1]))
    return ax


def line_difference(
    alpha: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    bounds: ArrayLike | None = None,
    name: str = "difference of the loss",
    label: str = "α",
) -> Axes:
    """Draw differences (m,) over alpha (m,) around the line at zero, with a band of their `bounds` (m,)."""
    where = vector(alpha, "alpha")
    found = vector(values, "values", where.size).copy()
    found[~np.isfinite(found)] = np.nan
    ax = axes_for(ax)
    ax.axhline(0, color=COLORS["grey"], lw=0.8)
    ax.plot(where, found, color=COLORS["blue"])
    if bounds is not None:
        off = vector(bounds, "bounds", where.size)
        ax.fill_between(where, found - off, found + off, color=COLORS["blue"], alpha=0.25, lw=0)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel(wrapped(label, 50))
    ax.set_ylabel(name)
    return ax


def symmetric(field: Floats) -> Heights:
    """The linear scale from −h to h that suits differences."""
    sizes = np.abs(field[np.isfinite(field)])
    missing = field.size - sizes.size
    top, bulk = (float(sizes.max()), float(np.quantile(sizes, _BULK))) if sizes.any() else (1.0, 1.0)
    if top > 2 * bulk > 0:
        top = bulk
    above = int((field > top).sum())
    return Heights(0.0, False, -top, top, above, int((field < -top).sum()), missing, field.size)
