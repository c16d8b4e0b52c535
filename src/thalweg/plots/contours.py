"""A filled, labelled contour map of a plane slice, with the path on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, grid, points, vector
from thalweg.plots.canvas import axes_for, legend_below, literal, wrapped
from thalweg.plots.difference import DIVERGING, symmetric
from thalweg.plots.ground import STRONG, Tint, ground
from thalweg.plots.heights import MAPS_FROM, Heights, logarithmic_from
from thalweg.plots.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def contours(
    alpha: ArrayLike,
    beta: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    name: str = "loss",
    labels: tuple[str, str] = ("α", "β"),
    path: ArrayLike | None = None,
    path_values: ArrayLike | None = None,
    minima: ArrayLike | None = None,
    marks: Mapping[str, tuple[float, float]] | None = None,
    point: tuple[float, float] | None = (0.0, 0.0),
    diverging: bool = False,
    heights: Heights | None = None,
) -> Axes:
    """Draw values (a, b) over coordinates alpha (a,), to the right, and beta (b,), up.

    Parameters
    ----------
    path: (t, 2) coordinates of checkpoints, first to last. path_values: (t,) their true values, which fill the
        checkpoints' marks in the map's colours: a mark that stands out from the ground lies off the plane.
    minima: (m, 2) known minima. marks: places to mark by their names. point: what is looked at, marked where it lies
        within the map and there are neither marks nor a path.
    diverging: whether the colours part at zero, as far on both sides.
    heights: the colour scale, by default the one that suits `values`, linear for an "accuracy": `heights.remarks()`
        says what it cuts off.

    Values that are not finite are hatched, those above the scale dotted.
    """
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    field = grid(values, "values", (x.size, y.size))
    track, wells = points(path, "path"), points(minima, "minima")
    scale = heights or _scale(field, name, diverging)
    tint = DIVERGING if diverging else STRONG
    ax = axes_for(ax)
    ground(ax, x, y, field, scale, name, track, tint)
    drawn: list[object] = []
    if len(track):
        truth = None if path_values is None else vector(path_values, "path_values", len(track))
        drawn += _path(ax, track, truth, scale, tint)
    elif point is not None and not marks and x[0] <= point[0] <= x[-1] and y[0] <= point[1] <= y[-1]:
        label = f"the point, ({point[0]:.4g}, {point[1]:.4g})"
        drawn += ax.plot(*point, "X", ms=8, mfc="white", mec="black", mew=0.8, ls="", label=label, zorder=6)
    for mark, (across, up) in (marks or {}).items():
        ax.plot(across, up, "o", ms=6, mfc="white", mec="black", mew=0.8, zorder=6)
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
        ax.annotate(
            literal(mark), (across, up), (6, 5), textcoords="offset points", weight="bold", bbox=box, zorder=7
        )
    if len(wells):
        drawn += ax.plot(
            *wells.T,
            "P",
            ms=7,
            mfc=COLORS["orange"],
            mec="black",
            mew=0.6,
            ls="",
            label="known minimum",
            zorder=5,
        )
    ax.locator_params(nbins=7)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(wrapped(labels[0], 42))
    ax.set_ylabel(wrapped(labels[1]))
    legend_below(ax, drawn)
    return ax


def _scale(field: Floats, name: str, diverging: bool) -> Heights:
    if diverging:
        return symmetric(field)
    return Heights.of(field, logarithmic_from=logarithmic_from(name, MAPS_FROM))


def _path(ax: Axes, track: Floats, truth: Floats | None, scale: Heights, tint: Tint) -> list[object]:
    ax.plot(*track.T, color="white", lw=2.6, zorder=4)
    ax.plot(*track.T, color=COLORS["vermilion"], lw=1.3, zorder=4)
    if truth is None:
        ax.plot(*track[1:-1].T, "o", ms=3.2, color=COLORS["vermilion"], zorder=5)
    else:
        ax.scatter(
            *track.T,
            c=scale(truth),
            cmap=tint.colormap(),
            norm=scale.norm(),
            s=20,
            ec="white",
            lw=0.8,
            zorder=5,
        )
    marks: dict[str, Any] = {"zorder": 6, "ls": "", "mec": "black", "mew": 0.8}
    start = ax.plot(*track[0], "s", ms=6, mfc="white", label="start", **marks)
    end = ax.plot(*track[-1], "*", ms=11, mfc="white", label="end", **marks)
    return [*start, *end]
