"""A formula as an image."""

from __future__ import annotations

import re

from thalweg import plots
from thalweg.report.image import Image, svg

_LONGEST = 400


def equation_image(latex: str) -> Image | None:
    """`latex` set by matplotlib, or None for what it cannot set."""
    from matplotlib.figure import Figure

    if len(latex) > _LONGEST:
        return None
    with plots.paper():
        try:
            figure = Figure(figsize=(6.0, 0.6))
            figure.set_layout_engine("none")
            text = figure.text(0.0, 0.5, f"${_known(latex)}$", va="center", fontsize=12, math_fontfamily="cm")
            extent = text.get_window_extent()
            figure.set_size_inches((extent.width + 4) / figure.dpi, (extent.height + 6) / figure.dpi)
            return svg(figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[]))
        except ValueError:
            return None


def _known(latex: str) -> str:
    """The same formula in the commands that matplotlib has."""
    latex = re.sub(r"\\[td]?frac\s*(\w)\s*(\w)", r"\\frac{\1}{\2}", latex)
    latex = latex.replace(r"\tfrac", r"\frac").replace(r"\dfrac", r"\frac")
    # Matplotlib sets what follows a sum with limits too close to it.
    latex = re.sub(r"(\\sum_(?:\w|\{[^}]*\}))", r"\1\\;", latex)
    return latex.replace(r"\lVert", r"\Vert").replace(r"\rVert", r"\Vert").replace("$", r"\$")
