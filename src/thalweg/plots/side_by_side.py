"""Maps of several networks beside each other on one scale: contours, surfaces, how far from convex each place is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.errors import InvalidArgument
from thalweg.plots.arrays import Floats, grid, vector
from thalweg.plots.canvas import literal, wrapped
from thalweg.plots.ground import ground
from thalweg.plots.heights import Heights
from thalweg.plots.surface import surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _BETWEEN, _LEFT, _RIGHT, _BAR = 3.2, 0.35, 0.8, 1.0, 0.14
_LINE, _LABELS, _FOOT = 0.2, 0.5, 0.35
"""Inches: a map's side, the room between maps and beside them; lines of titles, axes' labels, the line at the foot."""


@dataclass(frozen=True)
class Panel:
    """One network's map: values (a, b) over alpha (a,) and beta (b,), under a title and a note of one or more lines.

    ratios: abs(λmin/λmax) (c, d) over coarse_alpha (c,) and coarse_beta (d,), NaN where unknown.
    """

    title: str
    alpha: ArrayLike
    beta: ArrayLike
    values: ArrayLike
    note: str = ""
    ratios: ArrayLike | None = None
    coarse_alpha: ArrayLike = ()
    coarse_beta: ArrayLike = ()


def side_by_side(
    panels: Sequence[Panel],
    *,
    name: str = "loss",
    labels: tuple[str, str] = ("α", "β"),
    remarks: Sequence[str] = (),
) -> Figure:
    """A figure with a column for each panel: contours, the surface, and, where all have some, the ratios.

    All maps share one scale, logarithmic where all values are positive; all ratios another, linear one. remarks:
    sentences for its foot.
    Raises InvalidArgument for no panels, or wrong shapes.
    Source: Li et al. (2018), Visualizing the loss landscape of neural nets, figures 5 to 7.
    """
    if not panels:
        raise InvalidArgument("panels must be at least one, got none")
    maps = [_map(panel.alpha, panel.beta, panel.values, "values") for panel in panels]
    scale = shared_scale([values for _, _, values in maps])
    ratios = [
        _map(panel.coarse_alpha, panel.coarse_beta, panel.ratios, "ratios")
        for panel in panels
        if panel.ratios is not None
    ]
    ratios = ratios if len(ratios) == len(panels) else []
    titles = 1 + max(panel.note.count("\n") + bool(panel.note) for panel in panels)
    foot = " ".join(["✖ is the network.", *scale.remarks(name), *remarks])
    layout = _Layout(len(panels), titles, bool(ratios), foot)
    for i, (panel, (x, y, values)) in enumerate(zip(panels, maps, strict=True)):
        ax = layout.axes(0, i)
        bar = layout.bar(0) if i == len(panels) - 1 else False
        ground(ax, x, y, values, scale, name, np.empty((0, 2)), colorbar=bar)
        if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
            ax.plot(0, 0, "X", ms=7, mfc="white", mec="black", mew=0.8)
        ax.set_title(
            literal("\n".join(filter(None, (panel.title, panel.note)))), fontsize=10, linespacing=1.3
        )
        _frame(ax, x, y, labels, leftmost=not i)
        space = layout.space(1, i)
        surface(x, y, values, space, labels=("", ""), heights=scale)
        # The map above says what the axes are, its colours what the heights.
        space.set_zlabel("")
    highest = max((float(np.nanmax(found)) for _, _, found in ratios if np.isfinite(found).any()), default=0)
    for i, (x, y, found) in enumerate(ratios):
        ax = layout.axes(2, i)
        _ratio_map(ax, x, y, found, highest or 1.0, layout.bar(2) if i == len(panels) - 1 else None)
        # The cells of the outermost points reach beyond the map.
        _frame(ax, maps[i][0], maps[i][1], labels, leftmost=not i)
    return layout.figure


def shared_scale(fields: Sequence[Floats]) -> Heights:
    """One scale for several maps, logarithmic where all values are positive."""
    scale = Heights.of(np.concatenate([field.ravel() for field in fields]))
    if scale.logarithmic or not scale.lower > 0:
        return scale
    return dataclasses.replace(scale, logarithmic=True)


class _Layout:
    """Axes in rows and columns, placed in inches: layout engines leave wide margins around surfaces."""

    def __init__(self, columns: int, title_lines: int, ratios: bool, foot: str) -> None:
        from matplotlib.figure import Figure

        first = 0.1 + title_lines * _LINE
        below = first + _SIDE + _LABELS
        self.tops = [first, below, below + _SIDE + _LINE]
        self.end = _LEFT + columns * (_SIDE + _BETWEEN) - _BETWEEN
        self.width = self.end + _RIGHT
        told = wrapped(foot, int(15 * self.width))
        self.height = self.tops[2] + (_SIDE + _LABELS if ratios else 0) + _FOOT + told.count("\n") * _LINE
        self.figure: Any = Figure(figsize=(self.width, self.height))
        self.figure.set_layout_engine("none")
        self.figure.text(_LEFT / self.width, 0.12 / self.height, told, size=8.5, color="0.3", linespacing=1.3)

    def axes(self, row: int, column: int) -> Any:
        return self._add(self._left(column), self.tops[row], _SIDE, _SIDE)

    def space(self, row: int, column: int) -> Any:
        """Axes whose cube with its labels fills a map's place."""
        space = self._add(
            self._left(column), self.tops[row], _SIDE, _SIDE, projection="3d", computed_zorder=False
        )
        space.set_box_aspect(None, zoom=0.98)
        # Its neighbour's labels reach over its corner.
        space.patch.set_visible(False)
        return space

    def bar(self, row: int) -> Any:
        return self._add(self.end + 0.12, self.tops[row], _BAR, _SIDE)

    def _left(self, column: int) -> float:
        return _LEFT + column * (_SIDE + _BETWEEN)

    def _add(self, left: float, top: float, wide: float, high: float, **options: Any) -> Any:
        place = (
            left / self.width,
            1 - (top + high) / self.height,
            wide / self.width,
            high / self.height,
        )
        return self.figure.add_axes(place, **options)


def _map(alpha: ArrayLike, beta: ArrayLike, values: ArrayLike, name: str) -> tuple[Floats, Floats, Floats]:
    x, y = vector(alpha, "alpha"), vector(beta, "beta")
    return x, y, grid(values, name, (x.size, y.size))


def _frame(ax: Axes, x: Floats, y: Floats, labels: tuple[str, str], *, leftmost: bool) -> None:
    ax.locator_params(nbins=5)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(wrapped(labels[0], 42))
    if leftmost:
        ax.set_ylabel(wrapped(labels[1], 42))
    else:
        ax.tick_params(labelleft=False)


def _ratio_map(ax: Axes, x: Floats, y: Floats, ratios: Floats, highest: float, bar: Axes | None) -> None:
    """A cell for each point; those that are not known are hatched."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ax.patch.set(hatch="////", facecolor="0.93", edgecolor="0.45")
    norm = Normalize(0, highest)
    ax.pcolormesh(x, y, np.ma.masked_invalid(ratios).T, norm=norm, cmap="magma_r", shading="nearest")
    if bar is not None:
        figure: Any = ax.figure
        figure.colorbar(ScalarMappable(norm, "magma_r"), cax=bar).set_label("|λmin / λmax|")
