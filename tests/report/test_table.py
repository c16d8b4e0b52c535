from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thalweg.report import collect, with_error
from thalweg.report.table import Group, groups
from thalweg.store import Run

CURVES = {"density.grid", "density.density", "density.stderr", "target.blocks"}


@pytest.fixture(scope="module")
def data(folder: Path) -> dict[str, Any]:
    with Run.read(folder) as run:
        return collect(run)


@pytest.fixture(scope="module")
def table(data: dict[str, Any]) -> list[Group]:
    return groups(data)


def numbers(place: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(f"{place}.{key}", item)
    elif isinstance(value, list) and place not in CURVES:
        for item in value:
            yield from numbers(place, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, value


def shown(text: str) -> list[float]:
    """The numbers that a reader finds in a text."""
    plain = text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")).replace(",", "")
    shared = re.fullmatch(r"\((.*) ± (.*)\) × 10(\S+)", plain)
    if shared:
        plain = f"{shared[1]}e{shared[3]} ± {shared[2]}e{shared[3]}"
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", plain.replace(" × 10", "e"))]


def test_every_number_of_the_results_is_in_the_table(data: dict[str, Any], table: list[Group]) -> None:
    texts = [text for group in table for row in group.rows for text in (row.value, row.meaning)]
    readable = [value for text in texts for value in shown(text)]
    checked = 0
    for name, result in data["results"].items():
        for place, value in numbers(name, result) if name not in ("provenance", "verdict") else ():
            checked += 1
            if math.isnan(value):
                assert any("± ?" in text for text in texts), place
            else:
                # Errors are rounded to two digits, which moves 1.0x by up to 5 %; values to four.
                error = place.endswith(("stderr", "residuals", ".error"))
                assert any(
                    math.isclose(value, near, rel_tol=0.05 if error else 0.005) for near in readable
                ), (
                    place,
                    value,
                )
    assert checked > 60


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("training loss", "0.00229 ± 0.00021"),
        ("test loss", "0.1298 ± ?"),
        ("Hessian trace", "4.951 ± 0.091"),
        ("Hessian eigenvalue 3", with_error(0.31864, 0.00012)),
        ("Hessian eigenvalue 5", with_error(-0.0043, 0.0009)),
        ("spectral moment 4", with_error(0.000964, 7.6e-5)),
        ("share of negative eigenvalues", "0.0133 ± 0.0038"),
        ("sharpness average", "(2.0 ± 1.0) × 10⁻⁶"),
        ("largest stable rate", "5.778 ± 0.010"),
        ("diverged", "no"),
        ("variance explained", "0.9371"),
        ("points without a finite loss", "4"),
    ],
)
def test_row(table: list[Group], quantity: str, value: str) -> None:
    assert value in [row.value for group in table for row in group.rows if row.quantity == quantity]


def test_costs_are_counted(table: list[Group]) -> None:
    costs = {group.title: group.cost for group in table}
    assert costs["Extreme eigenvalues"] == "118 Hessian products, 0.25 s"
    assert costs["Plane random"] == "81 evaluations, 2.5 s"


def test_an_unknown_result_is_shown_too(data: dict[str, Any]) -> None:
    changed = data | {
        "results": {"noise_scale": {"value": 3.25, "stderr": 0.5, "batch_now": 64}},
        "slices": [],
    }
    (group,) = groups(changed)
    assert [(row.quantity, row.value) for row in group.rows] == [
        ("noise scale", "3.25 ± 0.50"),
        ("batch now", "64"),
    ]
