"""The Axes to draw in, and text that comes from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_for(ax: Axes | None, **subplot: Any) -> Axes:
    """`ax` itself, or the Axes of a new figure that pyplot does not know of."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure().add_subplot(**subplot)


def literal(text: str) -> str:
    """`text` as it is to be drawn, so that a dollar sign in a name does not start a formula."""
    return text.replace("$", r"\$")


def legend_below(ax: Axes, artists: list[Any], columns: int = 4) -> None:
    """A legend of `artists` under the Axes, where it can cover no data."""
    if artists:
        labels = [str(artist.get_label()) for artist in artists]
        ax.legend(
            artists,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=min(columns, len(artists)),
            handlelength=1.8,
            columnspacing=1.4,
        )
