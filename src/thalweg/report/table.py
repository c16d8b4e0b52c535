"""Every number of a run's results, with its error, meaning and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from thalweg.numbers import number, seconds, with_error
from thalweg.report.data import STAGES
from thalweg.report.exhibit import text_of
from thalweg.report.meanings import meaning_of

_ERRORS = {("eigenpairs", "values"): "residuals", ("stability", "rate"): "error"}
_ELSEWHERE = {"verdict", "provenance"}
_CURVES = {
    ("density", "grid"),
    ("density", "density"),
    ("density", "stderr"),
    ("target", "blocks"),
    ("eigenpairs", "residuals"),
    ("eigenpairs", "converged"),
    ("stability", "error"),
}


@dataclass(frozen=True)
class Row:
    """One number: what it is called, its value with its error, and what it means."""

    quantity: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Group:
    """The numbers of one result, and what they cost together."""

    title: str
    cost: str
    rows: list[Row]


def groups(data: dict[str, Any]) -> list[Group]:
    """The numbers of all results in the order of a survey, those of slices last; curves are in their figures."""
    found: list[Group] = []
    results = data["results"]
    for name in [
        *(name for name in STAGES if name in results),
        *(name for name in results if name not in STAGES),
    ]:
        if name not in _ELSEWHERE and results[name] is not None:
            rows = list(_rows(name, results[name], results))
            found.append(
                Group(
                    STAGES.get(name, name).capitalize(), _cost(results[name], data["seconds"].get(name)), rows
                )
            )
    for described in data["slices"]:
        found.append(
            Group(
                described.get("title") or described["name"],
                _cost(described, described["seconds"]),
                list(_slice_rows(described)),
            )
        )
    return [group for group in found if group.rows]


def _rows(name: str, result: Any, results: dict[str, Any]) -> Iterator[Row]:
    if not isinstance(result, dict):
        yield from _walk(name, result, math.nan)
        return
    head = _valued(result)
    if head is not None:
        yield _row(name, *head)
    for key, value in result.items():
        if (name, key) in _CURVES or (head is not None and key in ("value", "stderr", "error")):
            continue
        errors = result.get(_ERRORS.get((name, key), ""))
        yield from _walk(f"{name}.{key}", value, errors)


def _walk(place: str, value: Any, errors: Any = None, index: str = "") -> Iterator[Row]:
    match value:
        case bool() | int() | float():
            yield _row(place, value, errors if isinstance(errors, float | int) else None, index)
        case dict():
            head = _valued(value)
            kind = value.get("kind")
            index = kind if isinstance(kind, str) else index
            if head is not None:
                yield _row(place, *head, index, value.get("meaning"), value.get("samples"))
            for key, item in value.items():
                if head is None or key not in ("value", "stderr", "error", "samples"):
                    yield from _walk(f"{place}.{key}", item, None, index)
        case list():
            for i, item in enumerate(value):
                error = errors[i] if isinstance(errors, list) and i < len(errors) else None
                yield from _walk(place, item, error, f"{index}.{i + 1}" if index else str(i + 1))
        case _:
            return


def _valued(value: dict[str, Any]) -> tuple[float, float | None] | None:
    number_ = value.get("value")
    if isinstance(number_, int | float):
        return number_, value.get("stderr", value.get("error"))
    return None


def _row(
    place: str,
    value: float,
    error: float | None = None,
    index: str = "",
    meaning: str | None = None,
    samples: int | None = None,
) -> Row:
    called, means = meaning_of(place)
    text = text_of(value) if error is None else with_error(value, error)
    counted = f"; {number(samples)} samples" if samples is not None else ""
    return Row(f"{called} {index}".strip(), text, (meaning or means) + counted)


def _slice_rows(described: dict[str, Any]) -> Iterator[Row]:
    for key in ("points", "evaluations", "error"):
        if isinstance(described.get(key), int | float):
            yield _row(f"slice.{key}", described[key])
    losses = list(_flat(described["values"].get("loss")))
    usable = [loss for loss in losses if math.isfinite(loss)]
    if usable:
        yield _row("slice.lowest", min(usable))
        yield _row("slice.highest", max(usable))
    yield _row("slice.missing", len(losses) - len(usable))
    for key, value in described.get("facts", {}).items():
        yield from _walk(f"slice.facts.{key}", value)
    if described.get("distances") and "largest_distance" not in described.get("facts", {}):
        yield _row("slice.distance", max(described["distances"]))


def _flat(nested: Any) -> Iterator[float]:
    if isinstance(nested, list):
        for item in nested:
            yield from _flat(item)
    else:
        yield math.nan if nested is None else nested


def _cost(result: Any, duration: float | None) -> str:
    parts: list[str] = []
    if isinstance(result, dict):
        if isinstance(result.get("products"), int):
            parts.append(f"{number(result['products'])} Hessian products")
        if isinstance(result.get("evaluations"), int):
            parts.append(f"{number(result['evaluations'])} evaluations")
    if duration and duration >= 0.01:
        parts.append(seconds(duration))
    return ", ".join(parts)
