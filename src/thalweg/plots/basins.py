"""Basin maps: which point every start leads to."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats, grid, points, vector
from thalweg.plots.canvas import axes_for, legend_below, literal
from thalweg.plots.ground import shallow
from thalweg.plots.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNDECIDED = {-1: ("unsettled", "#c9c9c9"), -2: ("diverged", "#4d4d4d")}
"""Labels of starts that lead to no point, what they are called, and their greys."""

_MOST_NAMED = 8
_FEW = [color for name, color in COLORS.items() if name != "grey"]
_GOLDEN = 0.61803


def basins(
    x: ArrayLike,
    y: ArrayLike,
    label: ArrayLike,
    targets: ArrayLike,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    values: ArrayLike | None = None,
    labels: tuple[str, str] = ("x", "y"),
) -> Axes:
    """Draw a label (ny, nx), rows along y, at coordinates x (nx,) and y (ny,): one colour for every target.

    Parameters
    ----------
    label: the index among the targets that each start leads to, -1 where it has not settled, -2 where it diverged.
    targets: (k, 2) where the targets are, which are marked. names: what they are called, their coordinates if not
        given; the legend holds the eight largest basins with their shares of the map, and how many others there are.
    values: (ny, nx) the surface, for thin contour lines.

    Raises InvalidArgument for a wrong shape or a label without target.
    """
    across, up = vector(x, "x"), vector(y, "y")
    places = points(targets, "targets")
    found = np.asarray(label)
    if found.shape != (up.size, across.size) or not np.issubdtype(found.dtype, np.integer):
        raise InvalidArgument(
            f"label must be integers of shape ({up.size}, {across.size}), got {found.dtype} of {found.shape}"
        )
    if not found.size or found.min() < min(UNDECIDED) or found.max() >= len(places):
        raise InvalidArgument(
            f"label must be from {min(UNDECIDED)} to {len(places) - 1}, the last of the targets"
        )
    words = [f"({px:.4g}, {py:.4g})" for px, py in places] if names is None else list(names)
    if len(words) != len(places):
        raise InvalidArgument(f"names must be as many as targets, {len(places)}, got {len(words)}")
    ax = axes_for(ax)
    colors = _colors(max(int(found.max()) + 1, 0)) | {value: color for value, (_, color) in UNDECIDED.items()}
    _image(ax, across, up, found, colors)
    if values is not None:
        field = grid(values, "values", (up.size, across.size))
        scale = shallow(field)
        ax.contour(
            across, up, scale(field), levels=scale.levels(), colors="white", linewidths=0.6, alpha=0.75
        )
    reached = np.isin(np.arange(len(places)), found)
    inside = reached & (places >= [across[0], up[0]]).all(1) & (places <= [across[-1], up[-1]]).all(1)
    size = 11 if inside.sum() <= 20 else 5
    ax.plot(*places[inside].T, "*", ms=size, mfc="white", mec="black", mew=0.8, ls="", zorder=5)
    ax.set_xlim(across[0], across[-1])
    ax.set_ylim(up[0], up[-1])
    ax.locator_params(nbins=7)
    ax.set_xlabel(literal(labels[0]))
    ax.set_ylabel(literal(labels[1]))
    legend_below(ax, _keys(found, words, colors), columns=2)
    return ax


def _image(ax: Axes, x: Floats, y: Floats, label: NDArray[Any], colors: dict[int, str]) -> None:
    from matplotlib.colors import to_rgb

    values = np.array(sorted(colors))
    table = np.array([to_rgb(colors[value]) for value in values.tolist()])
    pixels = table[np.searchsorted(values, label)]
    # The middle of each pixel is its start.
    half = (float(np.ptp(x)) / max(x.size - 1, 1) / 2, float(np.ptp(y)) / max(y.size - 1, 1) / 2)
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    ax.imshow(pixels, origin="lower", extent=extent, aspect="auto", interpolation="nearest")


def _keys(label: NDArray[Any], names: Sequence[str], colors: dict[int, str]) -> list[Any]:
    from matplotlib.patches import Patch

    values, counts = np.unique(label, return_counts=True)
    shares = sorted(zip((counts / label.size).tolist(), values.tolist(), strict=True), reverse=True)
    led = [(share, value) for share, value in shares if value >= 0]
    keys: list[Any] = [
        Patch(fc=colors[value], label=f"{literal(names[int(value)])}: {_percent(share)}")
        for share, value in led[:_MOST_NAMED]
    ]
    others = led[_MOST_NAMED:]
    if others:
        keys.append(
            Patch(fc="none", label=f"{len(others)} others: {_percent(sum(share for share, _ in others))}")
        )
    keys += [
        Patch(fc=colors[value], label=f"{UNDECIDED[value][0]}: {_percent(share)}")
        for share, value in shares
        if value < 0
    ]
    return keys


def _percent(share: float) -> str:
    return "below 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _colors(count: int) -> dict[int, str]:
    """A colour for each target: those that colour-blind people tell apart where they suffice."""
    if count <= len(_FEW):
        return dict(enumerate(_FEW[:count]))
    from matplotlib.colors import to_hex

    # Hues in steps of the golden section, so that targets with neighbouring numbers differ most.
    return {
        i: to_hex(colorsys.hls_to_rgb((i * _GOLDEN) % 1, (0.42, 0.6, 0.75)[i % 3], 0.6)) for i in range(count)
    }
