"""Where commands put pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 160


def checked_picture(out: Path | None, default: str) -> Path:
    """The file to write, runs/`default`.png if none was given.

    Raises InvalidArgument for a name that ends in no picture format: before the work, not after it.
    """
    file = out or Path("runs") / f"{default}.png"
    if file.suffix.lower() not in FORMATS:
        raise InvalidArgument(f"--out must end in {', '.join(FORMATS)}, got {str(file)!r}")
    return file


def panels(count: int, title: str, size: tuple[float, float] = (5.2, 4.6)) -> tuple[Figure, list[Axes]]:
    """A figure with `count` Axes of `size` inches, at most three in a row; for the styles of the caller."""
    from matplotlib.figure import Figure

    from thalweg.plots.canvas import wrapped

    columns = min(count, 2 if count == 4 else 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    figure.suptitle(wrapped(title, round(9.6 * size[0]) * columns))
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def save(figure: Figure, file: Path) -> None:
    """Write the figure, and the folders that it needs. Raises InvalidArgument where that is not possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise InvalidArgument(f"--out {file} cannot be written: {error.strerror or error}") from error
