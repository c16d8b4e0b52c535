"""What a figure rests on and cannot show, in small letters under it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thalweg.plots.canvas import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 7.0
_PER_POINT = 1 / 0.58
"""Letters that a line holds for each point of its length, in sizes of the letters."""


def caption(figure: Figure, sentences: Sequence[str]) -> None:
    """Put the sentences, one after the other, below all Axes of a figure with a layout engine, which makes room."""
    if not sentences:
        return
    width = int(72 * figure.get_figwidth() / _SIZE * _PER_POINT)
    lines = textwrap.wrap(literal(" ".join(sentences)), width, break_on_hyphens=False)
    # The figure grows by the lines, so that the maps keep their size.
    figure.set_figheight(figure.get_figheight() + (len(lines) + 1) * 1.3 * _SIZE / 72)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=_SIZE, color="0.25", linespacing=1.25)
