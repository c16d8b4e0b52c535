"""`thalweg critical-points` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Command


def test_all_of_himmelblaus(thalweg: Command) -> None:
    found = thalweg("critical-points", "himmelblau", "--json").json
    kinds = [point["kind"] for point in found["points"]]
    assert sorted(kinds) == ["maximum"] + ["minimum"] * 4 + ["saddle"] * 4
    assert found["complete"] is True
    assert Path(found["picture"]).is_file()
    told = thalweg("critical-points", "himmelblau", "--out", "map.svg")
    assert "(3, 2)" in told.out
    assert "10⁻³¹" not in told.out
    assert Path("map.svg").is_file()


def test_a_model(thalweg: Command) -> None:
    found = thalweg("critical-points", "wine", "--set", "hidden=(1,)", "--starts", 4, "--json").json
    assert found["starts"] == 4
    assert sum(point["hits"] for point in found["points"]) + sum(found["failures"].values()) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("himmelblau", "--box", "1"), "LOW,HIGH"),
        (("himmelblau", "--box", "3,1"), "box"),
        (("himmelblau", "--method", "newtons"), "did you mean 'newton'"),
        (("himmelblau", "--out", "map.txt"), ".png"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[object, ...], told: str) -> None:
    assert told in thalweg("critical-points", *arguments).line
