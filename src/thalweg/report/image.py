"""Figures as images inside the page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 96  # CSS pixels per inch
_SHARPNESS = 1.75  # image pixels per CSS pixel, for screens and printers that have more
_COLORS = 255


@dataclass(frozen=True)
class Image:
    """A data URI and the size at which it is meant to be seen, in CSS pixels."""

    source: str
    width: int
    height: int


def svg(axes: Axes) -> Image:
    """The figure of `axes` as vectors.

    An image of its own, not a part of the page: its names cannot clash with those of other figures, nothing
    in it can run, and readers can save it.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure: Any = axes.figure
    buffer = io.StringIO()
    # Not by savefig, which draws every figure a second time to measure it.
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<!DOCTYPE.*?>|<\?xml.*?\?>", "", buffer.getvalue(), flags=re.S
    )
    # What this leaves unquoted is allowed between the double quotes of an attribute and keeps the text short.
    source = "data:image/svg+xml," + quote(re.sub(r"\s*\n\s*", "\n", text).strip(), safe=" =:/,;()'!*@$+")
    return Image(source.replace("%0A", " "), *_size(figure))


def png(axes: Axes) -> Image:
    """The figure of `axes` as pixels, for those that have too many faces to be vectors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image as pillow

    figure: Any = axes.figure
    figure.dpi = _DPI * _SHARPNESS
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = pillow.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    drawn = pixels.quantize(_COLORS, dither=pillow.Dither.NONE)
    packed = io.BytesIO()
    drawn.save(packed, format="png", compress_level=6)
    return Image("data:image/png;base64," + base64.b64encode(packed.getvalue()).decode(), *_size(figure))


def _size(figure: Any) -> tuple[int, int]:
    width, height = figure.get_size_inches()
    return round(width * _DPI), round(height * _DPI)
