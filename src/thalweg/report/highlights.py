"""The few numbers that a reader looks for first."""

from __future__ import annotations

from typing import Any

from thalweg.numbers import number, with_error
from thalweg.report.exhibit import text_of
from thalweg.report.table import Row


def tiles(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of a few numbers for the head of the page."""
    target, stability = results.get("target") or {}, results.get("stability") or {}
    found: list[tuple[str, str]] = []
    if target.get("parameters"):
        found.append(("parameters", number(target["parameters"])))
    for split, name in (("train", "training"), ("test", "test")):
        for metric, value in ((results.get("quality") or {}).get(split) or {}).items():
            alone = split == "train" and target.get("kind") == "surface"
            found.append((metric if alone else f"{name} {metric}", _estimate(value)))
    if values := (results.get("eigenpairs") or {}).get("values"):
        found.append(("largest eigenvalue", number(values[0])))
    if stability:
        found.append(("largest stable rate", number(stability["rate"], 3)))
    return found


def curvature_summary(results: dict[str, Any]) -> list[Row]:
    """The measures of curvature with their errors."""
    rows = [
        Row("Largest eigenvalue λmax", text, "sharpest direction; ± its residual")
        for text in _end(results, 0)
    ]
    rows += [
        Row("Smallest eigenvalue λmin", text, "below zero the loss falls off; ± its residual")
        for text in _end(results, -1)
    ]
    if trace := results.get("trace"):
        rows.append(
            Row(
                "Trace",
                _estimate(trace),
                f"sum of all eigenvalues, by {trace.get('method', 'probing')}; ± one standard error",
            )
        )
    if negative := (results.get("density") or {}).get("fraction_negative"):
        rows.append(
            Row(
                "Share of negative eigenvalues",
                _estimate(negative),
                f"below −{number(negative['threshold'], 2)}, above which signs are open; ± one standard error",
            )
        )
    for sharpness in results.get("sharpness") or []:
        rows.append(
            Row(f"Sharpness, {sharpness['kind']}", _estimate(sharpness), sharpness.get("meaning", ""))
        )
    if stability := results.get("stability"):
        used, ratio = stability.get("used"), stability.get("ratio")
        against = (
            "" if used is None or ratio is None else f"; {number(used)} was used, {number(ratio, 2)} of it"
        )
        value = with_error(stability["rate"], stability["error"])
        rows.append(
            Row(f"Largest stable rate, {stability['optimizer']}", value, f"{stability['formula']}{against}")
        )
    return rows


def _end(results: dict[str, Any], which: int) -> list[str]:
    pairs = results.get("eigenpairs") or {}
    return [with_error(pairs["values"][which], pairs["residuals"][which])] if pairs.get("values") else []


def _estimate(found: Any) -> str:
    if not isinstance(found, dict) or "value" not in found:
        return text_of(found)
    error = found.get("stderr", found.get("error"))
    return text_of(found["value"]) if error is None else with_error(found["value"], error)
