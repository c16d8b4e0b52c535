"""`thalweg connect` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cli.conftest import Command

SMALL = ("wine", "--set", "hidden=(6,)")


@pytest.fixture
def two(thalweg: Command) -> Command:
    for seed, name in enumerate("ab"):
        assert thalweg("train", *SMALL, "--epochs", 10, "--seed", seed, "--out", name).status == 0
    return thalweg


def test_two_runs(two: Command) -> None:
    found = two(
        "connect", *SMALL[:1], "a", "b", *SMALL[1:], "--align", "weights", "--steps", 100, "--json"
    ).json
    line, matched, curve = found["paths"]
    assert line["path"] == "straight line"
    assert "matched" in matched["path"]
    assert "Bezier" in curve["path"]
    assert curve["gradients"] == 100
    # The ends are the trained networks, whatever their units are called.
    assert matched["loss"][0] == line["loss"][0]
    assert matched["loss"][-1] == pytest.approx(line["loss"][-1], rel=1e-5)
    assert matched["barrier"] <= line["barrier"]
    assert Path(found["picture"]).is_file()
    told = two(
        "connect",
        SMALL[0],
        "a",
        "b",
        *SMALL[1:],
        "--curve",
        "polygon",
        "--steps",
        20,
        "--optimizer",
        "sgd",
        "--lr",
        0.1,
    )
    assert told.status == 0
    assert "polygon" in told.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rosenbrock", "a", "b"), "surface"),
        (("wine", "a.pt", "b.pt"), "not found"),
        (("wine", "a.pt", "b.pt", "--out", "c.txt"), ".png"),
        (("wine", "a.pt", "b.pt", "--optimizer", "adm"), "did you mean adam"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[object, ...], told: str) -> None:
    assert told in thalweg("connect", *arguments).line


def test_an_optimizer_needs_its_rate(two: Command) -> None:
    assert "--lr" in two("connect", SMALL[0], "a", "b", *SMALL[1:], "--optimizer", "sgd").line


def test_the_end_that_does_not_fit_is_named(two: Command) -> None:
    torch.save({"linear1.weight": torch.ones(6, 13)}, "c.pt")
    for ends, told in (
        (("c.pt", "b"), "A, checkpoint c.pt lacks"),
        (("a", "c.pt"), "B, checkpoint c.pt lacks"),
    ):
        assert two("connect", SMALL[0], *ends, *SMALL[1:]).line.startswith(f"{told} 3 of 4 parameters")


def test_points_are_the_even_ones_and_more_around_the_highest(two: Command) -> None:
    found = two("connect", SMALL[0], "a", "b", *SMALL[1:], "--curve", "none", "--points", 5, "--json").json[
        "paths"
    ][0]
    even = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert set(even) <= set(found["t"])
    assert all(abs(t - found["at"]) <= 0.25 for t in found["t"] if t not in even)
