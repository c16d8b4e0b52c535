"""One figure of the report with all that belongs to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thalweg.numbers import number, with_error
from thalweg.report.image import Image
from thalweg.report.meanings import meaning_of


@dataclass(frozen=True)
class Exhibit:
    """Images of one thing with their explanation.

    key: unique name; title; images: (image, text for those who do not see it) pairs, shown side by side.
    remarks: how to read it and what is not drawn as it is. limits: what it cannot show. facts: (name, value)
    pairs. tables: (title, CSV text) pairs, the numbers behind it.
    """

    key: str
    title: str
    images: list[tuple[Image, str]]
    remarks: list[str] = field(default_factory=list[str])
    limits: list[str] = field(default_factory=list[str])
    facts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tables: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """Columns of equal length as CSV with a header line; numbers to six significant digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    return buffer.getvalue()


def facts_of(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a slice besides its values: its facts, and how it was computed."""
    facts = described.get("facts", {})
    found = [(meaning_of(f"slice.facts.{key}")[0], text_of(value)) for key, value in facts.items()]
    evaluations, error = described.get("evaluations"), described.get("error")
    if evaluations is not None:
        of = f" of {number(described['points'])}" if "points" in described else ""
        found.append(("points evaluated", f"{number(evaluations)}{of}"))
    if error:
        found.append(("largest relative error of an interpolated point", number(error, 2)))
    found.append(("seconds", number(described["seconds"], 2)))
    return found


def text_of(value: Any) -> str:
    """A fact in words: numbers to four digits, {"value", "stderr"} with its error."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case {"value": value, "stderr": error}:
            return with_error(value, error)
        case list():
            return ", ".join(text_of(item) for item in value)
        case dict():
            return ", ".join(f"{key}: {text_of(item)}" for key, item in value.items())
        case None:
            return "none"
        case _:
            return str(value)


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
