"""The Axes to draw in, and text that comes from outside."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_for(ax: Axes | None, **subplot: Any) -> Axes:
    """`ax` itself, or the Axes of a new figure that pyplot does not know of."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # With a layout that makes room for a legend below the axes.
    return Figure(layout="constrained").add_subplot(**subplot)


def literal(text: str) -> str:
    """`text` as it is to be drawn, so that a dollar sign in a name does not start a formula."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int = 36) -> str:
    """`literal(text)` in lines of at most `width` letters, so that a long label stays within its axis."""
    return "\n".join(textwrap.wrap(literal(text), width, break_on_hyphens=False))


def legend_below(ax: Axes, artists: list[Any], columns: int = 4) -> None:
    """A legend of `artists` under the Axes and their label, where it can cover no data."""
    from matplotlib.transforms import ScaledTranslation

    if artists:
        label: Any = ax.xaxis.label
        lines = 1 + label.get_text().count("\n")
        # Below ticks and label, whatever the height of the Axes.
        points = 18 + 1.3 * lines * float(label.get_size())
        figure: Any = ax.figure
        ax.legend(
            artists,
            [str(artist.get_label()) for artist in artists],
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=ax.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans),
            ncols=min(columns, len(artists)),
            handlelength=1.8,
            columnspacing=1.4,
        )
