"""Labels of logarithmic axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from thalweg.numbers import number

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def label_decades(axis: Axis) -> None:
    """Label a logarithmic axis in plain letters, which take a tenth of the time of formulas and none of their fonts.

    Powers of ten as "10ⁿ", or as they are where all lie between 0.001 and 1000. In ranges of less than two decades
    steps within a decade are labelled, too. Call it when the limits of the axis are final.
    """
    from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and high < 100 * low:

        class Steps(LogFormatter):
            """Which steps are labelled is matplotlib's choice; the letters are ours."""

            def __call__(self, x: float, pos: int | None = None) -> str:
                if not super().__call__(x, pos):
                    return ""
                return plain(x) if 1e-3 <= x < 1e4 else number(x, 3)

        axis.set_major_formatter(Steps(minor_thresholds=(1, 0.4)))
        axis.set_minor_formatter(Steps(minor_thresholds=(1, 0.4)))
        return
    decades = [abs(tick) for tick in axis.get_majorticklocs() if tick and low <= tick <= high]
    readable = min(decades, default=1.0) > 0.00099 and max(decades, default=1.0) < 1001
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: plain(value) if readable else power_of_ten(value))
    )
    axis.set_minor_formatter(NullFormatter())


def plain(value: float) -> str:
    """A number to six digits at most, with the sign that belongs to numbers: "−0.25"."""
    return f"{value:g}".replace("-", "−")


def power_of_ten(value: float) -> str:
    """A positive or negative power of ten, or zero, in letters: "−10⁻³"."""
    if value == 0:
        return "0"
    exponent = str(round(math.log10(abs(value)))).translate(_SUPERSCRIPTS)
    return f"{'−' if value < 0 else ''}10{exponent}"
