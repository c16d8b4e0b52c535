"""The filled, labelled contours that maps are drawn on, and their colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.plots.arrays import Floats
from thalweg.plots.canvas import literal
from thalweg.plots.contour_labels import label_places
from thalweg.plots.heights import Heights
from thalweg.plots.style import COLORMAP
from thalweg.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.contour import QuadContourSet


@dataclass(frozen=True)
class Tint:
    """Colours of a ground from low to high, the ink of lines on its lower part, and from where on they are black."""

    colors: str | tuple[str, ...]
    ink: str
    black_from: float

    def colormap(self) -> str | Colormap:
        """The matplotlib colormap."""
        from matplotlib.colors import LinearSegmentedColormap

        if isinstance(self.colors, str):
            return self.colors
        return LinearSegmentedColormap.from_list("ground", list(self.colors))


STRONG = Tint(COLORMAP, "white", 0.6)
PALE = Tint(("#7d9cbb", "#aec3d6", "#d9e2e8", "#f7f5ef"), "#5c6b78", 2.0)
"""For lines of many colours, of which each can be told from the ground."""

_SHALLOW = 1e-4


def ground(
    ax: Axes,
    x: Floats,
    y: Floats,
    field: Floats,
    scale: Heights,
    name: str,
    track: Floats,
    tint: Tint = STRONG,
    *,
    colorbar: bool | Axes = True,
) -> None:
    """Draw the field (a, b) over x (a,) and y (b,), its values off the track (t, 2), and, if wanted, a colour bar.

    The bar takes its room from `ax`, unless it is given Axes of its own. NaN in the track parts one path from the next.
    Values that are not finite are hatched, those above the scale dotted.
    """
    if np.isnan(field).any():
        ax.patch.set(hatch="////", facecolor="0.93", edgecolor="0.45")
    if np.isnan(field).all():
        box = {"fc": "white", "ec": "none"}
        ax.text(0.5, 0.75, "no finite value", transform=ax.transAxes, ha="center", va="center", bbox=box)
        return
    shown = np.ma.masked_invalid(scale(field)).T
    filled = ax.contourf(x, y, shown, levels=scale.bands(), norm=scale.norm(), cmap=tint.colormap())
    # Without an edge of its own colour, viewers show the page between neighbouring bands.
    filled.set_edgecolor("face")
    levels = scale.levels()
    # On a scale that several maps share, a map need not reach all levels.
    reached = levels[(levels > shown.min()) & (levels < shown.max())]
    if reached.size:
        inks = [tint.ink if scale.norm()(level) < tint.black_from else "black" for level in reached]
        lines = ax.contour(x, y, shown, levels=reached, colors=inks, linewidths=0.6, alpha=0.75)
        places = label_places(lines.get_paths(), np.array([[x[0], x[-1]], [y[0], y[-1]]]), track)
        ax.clabel(lines, fmt=plain, fontsize=8, manual=places)
    if scale.above:
        over = np.ma.masked_invalid(field - scale.base).T
        ax.contourf(x, y, over, levels=[scale.upper, np.inf], colors="none", hatches=["..."])
    if colorbar:
        _colorbar(ax, filled, scale, name, levels, None if colorbar is True else colorbar)


def shallow(field: Floats) -> Heights:
    """The scale of an analytic field: no more decades than have room for lines, however near zero the grid comes."""
    finite = field[np.isfinite(field)]
    if not finite.size or finite.min() < 0:
        return Heights.of(field)
    return Heights.of(np.maximum(field, _SHALLOW * finite.max()))


def _colorbar(
    ax: Axes, filled: QuadContourSet, scale: Heights, name: str, levels: Floats, own: Axes | None
) -> None:
    figure: Any = ax.figure
    place: dict[str, Any] = {"ax": ax, "pad": 0.02, "fraction": 0.06}
    if own is not None:
        place = {"cax": own}
    elif ax.get_aspect() != "auto" and figure.get_layout_engine() is not None:
        # As high as the map itself, which need not fill its place; it takes a layout engine to find the room.
        wide = 0.045 * min(1.0, np.ptp(ax.get_ylim()) / np.ptp(ax.get_xlim()))
        place = {"cax": ax.inset_axes((1 + wide / 2, 0, wide, 1))}
    bar = figure.colorbar(filled, **place)
    bar.set_ticks(levels, labels=[plain(level) for level in levels])
    bar.ax.minorticks_off()
    bar.set_label(scale.label(literal(name)) + (" (logarithmic)" if scale.logarithmic else ""))
