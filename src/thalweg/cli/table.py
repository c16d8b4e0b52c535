"""Tables of text whose cells fold at words where the table is too wide; numbers are never cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

_GAP = "  "
_HARD, _SOFT = "\u00a0", "\u200b"


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[list[str]]:
    """A table without borders: for the names of the columns, then for each row, the lines that it takes.

    The first column and those of words are to the left, numbers to the right. Where the table is wider than `width`
    characters, the widest cells fold at spaces, but not inside a number; where that does not suffice it is as wide as
    its words and numbers, for the terminal to wrap. Lines have no blanks at their ends.
    """
    table = [[_breakable(cell) for cell in row] for row in (columns, *rows)]
    sizes = _sizes(table, width)
    left = [not i or all(row[i][:1].isalpha() for row in rows) for i in range(len(columns))]
    return [_row(row, sizes, left) for row in table]


def _row(cells: Sequence[str], sizes: Sequence[int], left: Sequence[bool]) -> list[str]:
    folded = [_folded(cell, size) for cell, size in zip(cells, sizes, strict=True)]
    lines: list[str] = []
    for i in range(max(map(len, folded), default=0)):
        parts = [lines_[i] if i < len(lines_) else "" for lines_ in folded]
        line = _GAP.join(
            part.ljust(size) if to_left else part.rjust(size)
            for part, size, to_left in zip(parts, sizes, left, strict=True)
        )
        lines.append(line.rstrip())
    return lines


def _sizes(table: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """The widths of the columns: as wide as their cells, narrowed from the widest on until all fit."""
    cells = list(zip(*table, strict=True))
    sizes = [max(len(cell.replace(_SOFT, "")) for cell in column) for column in cells]
    least = [max(len(piece) for cell in column for piece in _pieces(cell)) for column in cells]
    while width is not None and sum(sizes) + len(_GAP) * (len(sizes) - 1) > width:
        narrower = [i for i, size in enumerate(sizes) if size > least[i]]
        if not narrower:
            break
        sizes[max(narrower, key=lambda i: sizes[i])] -= 1
    # Folded, a column can be narrower than it had to be.
    return [
        max(len(line) for cell in column for line in _folded(cell, size))
        for column, size in zip(cells, sizes, strict=True)
    ]


def _breakable(cell: str) -> str:
    """The cell with marks where it may break, as in sgd(momentum=0.9), and may not, as in 3 × 10⁻⁴ and 25 %."""
    return re.sub(r"(?<=\w)\(", f"{_SOFT}(", re.sub(r"(?<=[×±]) | (?=[×%])", _HARD, cell))


def _pieces(cell: str) -> list[str]:
    return re.split(f"[ {_SOFT}]", cell)


def _folded(cell: str, size: int) -> list[str]:
    """The lines of a cell, as many of its pieces in each as it has room for."""
    first, *others = re.split(f"([ {_SOFT}])", cell)
    lines = [first]
    for mark, piece in zip(others[::2], others[1::2], strict=True):
        longer = f"{lines[-1]}{'' if mark == _SOFT else mark}{piece}"
        if len(longer) <= size:
            lines[-1] = longer
        else:
            lines.append(piece)
    return [line.replace(_HARD, " ") for line in lines]
