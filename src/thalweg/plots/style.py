"""Colours that stay apart under colour blindness, and the look of figures made for print."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

COLORS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "grey": "#595959",
}
"""Okabe & Ito (2008), Color universal design; their yellow is left out, too pale for lines on white."""

COLORMAP = "viridis"

_PAPER: dict[str, Any] = {
    "figure.figsize": (5.1, 3.9),
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "hatch.linewidth": 0.5,
    "path.simplify_threshold": 0.25,
    "svg.fonttype": "path",
    "svg.hashsalt": "thalweg",
}


@contextmanager
def paper() -> Generator[None]:
    """Within the block, figures look as in a paper and their files do not depend on the user's settings."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, _PAPER))
        yield
