"""What commands print: tables for a person, one JSON object for a program."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from thalweg.cli.table import table_lines


def print_json(value: Any) -> None:
    """Print one JSON object; numbers that are not finite become null, which JSON can hold."""
    print(as_json(value))


def as_json(value: Any) -> str:
    """The text that `print_json` prints."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their column names, without borders; on a terminal as wide as that is, folded if need be."""
    from rich.console import Console
    from rich.text import Text

    # In a pipe each row is one line: what reads them does not want them folded.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    console = Console(soft_wrap=True)
    head, *body = table_lines(columns, rows, width)
    for line in head:
        console.print(Text(line, style="bold"))
    for line in (line for row in body for line in row):
        print(line)
