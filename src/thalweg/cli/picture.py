"""Where commands put pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
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


def save(figure: Figure, file: Path) -> None:
    """Write the figure, and the folders that it needs. Raises InvalidArgument where that is not possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise InvalidArgument(f"--out {file} cannot be written: {error.strerror or error}") from error
