"""A plane slice as a surface in three dimensions, with the path lying on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.plots.arrays import Floats, grid, points, vector
from thalweg.plots.canvas import axes_for, literal
from thalweg.plots.heights import MAPS_FROM, Heights, logarithmic_from
from thalweg.plots.interpolation import bilinear
from thalweg.plots.style import COLORMAP, COLORS
from thalweg.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def surface(
    alpha: ArrayLike,
    beta: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    name: str = "loss",
    labels: tuple[str, str] = ("α", "β"),
    path: ArrayLike | None = None,
    path_values: ArrayLike | None = None,
    heights: Heights | None = None,
    elevation: float = 38.0,
    azimuth: float = -58.0,
) -> Axes:
    """Draw values (a, b) over alpha (a,) and beta (b,) as a surface, logarithmic as `contours` would.

    Parameters
    ----------
    ax: a 3-D Axes. path: (t, 2) coordinates of checkpoints, visible through the surface. path_values: (t,) their
        true values, at which they are drawn; without them the path lies on the surface.
    heights: the scale. elevation, azimuth: of the camera, in degrees.

    Values that are not finite leave holes.
    """
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    field = grid(values, "values", (x.size, y.size))
    track = points(path, "path")
    scale = heights or Heights.of(field, logarithmic_from=logarithmic_from(name, MAPS_FROM))
    space: Any = axes_for(ax, projection="3d", computed_zorder=False)
    if ax is None:
        # Layout engines leave a wide margin around a cube, and take long to find it.
        space.figure.set_layout_engine("none")
        space.set_position((0.02, 0.06, 0.9, 0.94))
    drawn = _lifted(scale(field), scale)
    low, high = _lifted(np.array([scale.lower, scale.upper]), scale)
    across, up = np.meshgrid(x, y, indexing="ij")
    space.plot_surface(
        across,
        up,
        drawn,
        cmap=COLORMAP,
        vmin=low,
        vmax=high,
        rcount=x.size,
        ccount=y.size,
        lw=0,
        antialiased=False,
        zorder=1,
    )
    if len(track):
        inside = ((track >= [x[0], y[0]]) & (track <= [x[-1], y[-1]])).all(axis=1)
        track = track[inside]
        if path_values is None:
            level = bilinear(x, y, drawn, track)
        else:
            level = _lifted(scale(vector(path_values, "path_values", inside.size)), scale)[inside]
        _path(space, track, level + 0.01 * (high - low))
    space.set_zlim(low, high)
    _label(space, scale, (literal(labels[0]), literal(labels[1]), scale.label(literal(name))))
    space.view_init(elevation, azimuth)
    return space


def _lifted(heights: Floats, scale: Heights) -> Floats:
    return np.log10(heights) if scale.logarithmic else heights


def _path(space: Any, track: Floats, level: Floats) -> None:
    space.plot(*track.T, level, color="white", lw=2.6, zorder=3)
    space.plot(*track.T, level, color=COLORS["vermilion"], marker="o", ms=2.5, lw=1.3, zorder=3)
    for place, mark, size in ((slice(0, 1), "s", 6), (slice(-1, None), "*", 11)):
        space.plot(*track[place].T, level[place], mark, ms=size, mfc="white", mec="black", mew=0.8, zorder=4)


def _label(space: Any, scale: Heights, labels: tuple[str, str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    space.xaxis.set_major_locator(MaxNLocator(5))
    space.yaxis.set_major_locator(MaxNLocator(5))
    space.zaxis.set_major_locator(MaxNLocator(5))
    if scale.logarithmic:
        ticks = scale.levels()
        ticks = ticks[:: -(-ticks.size // 7) or 1]
        space.set_zticks(np.log10(ticks), [plain(tick) for tick in ticks])
    space.tick_params(pad=0)
    space.tick_params(axis="z", pad=4)
    space.set_xlabel(labels[0], labelpad=0)
    space.set_ylabel(labels[1], labelpad=0)
    space.set_zlabel(labels[2], labelpad=7)
