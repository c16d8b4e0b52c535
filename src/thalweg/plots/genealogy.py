"""The genealogy of optimizers, from left to right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from thalweg.errors import InvalidArgument
from thalweg.plots.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thalweg.optim.genealogy import Genealogy
    from thalweg.optim.lineage import Edge, Node

SIZE = (16.0, 9.0)
"""Of a new figure in inches, and of the Axes in its own units: at another size texts are scaled."""

FAMILY_COLORS = {
    "first-order": COLORS["grey"],
    "adaptive": COLORS["blue"],
    "sign": COLORS["vermilion"],
    "schedule-free": COLORS["green"],
    "second-order": COLORS["purple"],
    "matrix": COLORS["orange"],
    "sharpness-aware": COLORS["sky"],
}

_PLACES: dict[str, tuple[int, float]] = {
    "steepest_descent": (1, 0),
    "momentum": (1, 1),
    "nesterov": (2, 1),
    "muon": (4, 1),
    "shampoo": (3, 2),
    "soap": (5, 2),
    "gradient_descent": (0, 4),
    "sgd": (1, 4),
    "adagrad": (2, 4),
    "rmsprop": (3, 4),
    "adam": (4, 4),
    "adamw": (5, 4),
    "lion": (6, 4),
    "switch": (5, 5),
    "schedule_free_sgd": (2, 6),
    "schedule_free_adamw": (6, 6),
    "sam": (2, 8),
    "asam": (3, 7),
    "gsam": (3, 8),
    "efficient_sam": (3, 9),
    "sophia_g": (6, 10),
    "sophia_h": (6, 11.8),
    "newton": (1, 12),
    "natural_gradient": (2, 11),
    "kfac": (3, 11),
    "ekfac": (4, 11),
    "gauss_newton": (2, 12),
    "levenberg_marquardt": (3, 12),
    "lbfgs": (2, 13),
    "saddle_free_newton": (2, 14),
}
"""Column and row. The main line is level; a line over several columns has, as far as its end, a row of its own."""

_LANES = {("momentum", "adam"): 3.0}
"""The row of a line that other rules would be in the way of on its end's row: it ends there from above."""

_BOX = (1.22, 0.51)
_COLUMN = (SIZE[0] - _BOX[0] - 0.2) / max(column for column, _ in _PLACES.values())
_ROW = 0.58
_TOP = 0.4
_TURN = 0.12
"""From a rule to where the lines to its descendants part."""
_TITLE, _SMALL, _LABEL = 9.5, 6.4, 8.2
"""Points."""
_LEADING = 1.15
"""Distance of lines, in sizes of the text."""


class _Line(NamedTuple):
    """Corners of a line, and where its label is: at most `width` wide, beside x and, by the share `below`, over y."""

    corners: list[tuple[float, float]]
    x: float
    y: float
    width: float
    align: str = "left"
    below: float = 0.0


def genealogy(graph: Genealogy | None = None, ax: Axes | None = None) -> Axes:
    """Draw which optimizer is which other one with what change; the families by color.

    Rules that this version of Thalweg does not have are hollow. Lines to a parent beside the main line are dashed.
    A new figure is 16 by 9 inches, as a slide; texts scale with the size that the Axes has when it is drawn in.

    Parameters
    ----------
    graph: as `thalweg.optim.genealogy()` gives it, which is the default.

    Raises InvalidArgument for a rule that has no place in the picture.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if graph is None:
        from thalweg.optim.genealogy import genealogy as known

        graph = known()
    lost = [node.name for node in graph.nodes if node.name not in _PLACES]
    if lost:
        raise InvalidArgument(f"graph must hold known optimizers only, got {', '.join(lost)}")
    ax = _blank() if ax is None else ax
    figure: Any = ax.figure
    frame = ax.get_window_extent()
    scale = min(frame.width / SIZE[0], frame.height / SIZE[1]) / figure.dpi
    ax.set_axis_off()
    ax.set_xlim(0, SIZE[0])
    ax.set_ylim(SIZE[1], 0)
    ax.set_aspect("equal")
    for edge in reversed(graph.edges):
        _draw_edge(ax, edge, graph.node(edge.child), graph.parents(edge.child)[0] == edge, scale)
    for node in graph.nodes:
        _draw_node(ax, node, scale)
    marks: list[Any] = [
        Patch(fc=_pale(color), ec=color, lw=scale, label=family) for family, color in FAMILY_COLORS.items()
    ]
    if not all(node.in_thalweg for node in graph.nodes):
        marks.append(Patch(fc="white", ec=COLORS["grey"], lw=scale, label="not in Thalweg yet"))
    marks.append(Line2D([], [], color=COLORS["grey"], ls=(0, (4, 2)), lw=scale, label="also descends from"))
    ax.legend(
        handles=marks,
        loc="lower right",
        ncols=3,
        fontsize=_LABEL * scale,
        frameon=False,
        borderaxespad=1.0,
        columnspacing=1.5,
    )
    return ax


def _blank() -> Axes:
    from matplotlib.figure import Figure

    return Figure(figsize=SIZE).add_axes((0, 0, 1, 1))


def _center(name: str) -> tuple[float, float]:
    column, row = _PLACES[name]
    return 0.1 + _BOX[0] / 2 + column * _COLUMN, _TOP + row * _ROW


def _route(edge: Edge) -> _Line:
    (x0, y0), (x1, y1) = _center(edge.parent), _center(edge.child)
    half, gap = _BOX[0] / 2, _COLUMN - _BOX[0]
    if x0 == x1:
        # To the left, where the columns leave room.
        middle = (y0 + y1) / 2
        corners = [(x0, y0 + _BOX[1] / 2), (x0, y1 - _BOX[1] / 2)]
        return _Line(corners, x0 - 0.08, middle + 0.03, gap, "right", 0.5)
    turn = x0 + half + _TURN
    lane = _LANES.get((edge.parent, edge.child))
    if lane is not None:
        y = _TOP + lane * _ROW
        corners = [(x0 + half, y0), (turn, y0), (turn, y), (x1, y), (x1, y1 - _BOX[1] / 2)]
    else:
        y = y1
        corners = [(x0 + half, y0), (turn, y0), (turn, y), (x1 - half, y)]
    columns = round((x1 - x0) / _COLUMN)
    width = gap - _TURN - 0.14 if columns == 1 else gap + _BOX[0] - _TURN
    return _Line(corners, turn + 0.06, y - 0.07, width)


def _draw_edge(ax: Axes, edge: Edge, child: Node, main: bool, scale: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    line, color = _route(edge), FAMILY_COLORS[child.family]
    ax.add_patch(
        FancyArrowPatch(
            path=Path(line.corners),
            arrowstyle="-|>",
            mutation_scale=9 * scale,
            color=color,
            lw=(1.6 if main else 1.0) * scale,
            ls="-" if main else (0, (4, 2)),
            joinstyle="round",
            zorder=2 if main else 1.5,
        )
    )
    told = _wrapped(edge.change, line.width, _LABEL)
    foot = line.y + line.below * (len(told) - 1) * _LEADING * _LABEL / 72
    _write(ax, line.x, foot, told, _LABEL, scale, ha=line.align, gid="change")


def _draw_node(ax: Axes, node: Node, scale: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), color = _center(node.name), FAMILY_COLORS[node.family]
    box = FancyBboxPatch(
        (x - _BOX[0] / 2, y - _BOX[1] / 2),
        *_BOX,
        boxstyle="round,pad=0,rounding_size=0.08",
        fc=_pale(color) if node.in_thalweg else "white",
        ec=color,
        lw=1.4 * scale,
        zorder=3,
        gid=node.name,
    )
    ax.add_patch(box)
    text: dict[str, Any] = {"ha": "center", "zorder": 4, "gid": node.name}
    title = _wrapped(node.title, _BOX[0] - 0.06, _TITLE, "bold")
    _write(ax, x, y + (0.02 if len(title) == 1 else 0.07), title, _TITLE, scale, weight="bold", **text)
    who = f"{node.authors.split(',')[0]} et al." if "," in node.authors else node.authors
    _write(ax, x, y + (0.16 if len(title) == 1 else 0.2), [f"{who} {node.year}"], _SMALL, scale, **text)


def _write(ax: Axes, x: float, foot: float, lines: list[str], size: float, scale: float, **text: Any) -> None:
    """Lines of text one above the other, the last one's baseline at `foot`."""
    # One by one: in a text of several lines their distance would vary with their letters.
    for i, line in enumerate(reversed(lines)):
        ax.text(x, foot - i * _LEADING * size / 72, line, va="baseline", fontsize=size * scale, **text)


def _wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """`text` in lines that are at most `width` inches long."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)
    lines = [""]
    # Breaks are at blanks, which stay with the word that follows, and after dashes.
    for word in re.findall(r"\s*[^\s–]*–|\s*[^\s–]+", text):
        longer = lines[-1] + word
        wide, _, _ = text_to_path.get_text_width_height_descent(longer, font, False)
        if wide > width * 72 and lines[-1]:
            lines.append(word.lstrip())
        else:
            lines[-1] = longer
    return lines


def _pale(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (0.82 + 0.18 * part for part in to_rgb(color))
    return red, green, blue
