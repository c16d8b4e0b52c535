from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Command

SMALL = ("--resolution", "24", "--steps", "60")


def test_map_and_table(thalweg: Command) -> None:
    found = thalweg("basins", "himmelblau", "--optimizer", "gradient_descent", "--lr", "0.01", *SMALL)
    assert (found.status, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0] == "gradient_descent at 0.01, 60 steps from 24 × 24 starts"
    assert "minimum (3, 2)" in found.out
    assert "chosen" not in found.out
    assert lines[-1] == "Picture: runs/basins-himmelblau-gradient_descent.png"
    assert Path("runs/basins-himmelblau-gradient_descent.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.cli.basins.save", lambda figure, file: None)


@pytest.mark.usefixtures("no_picture")
def test_a_convex_surface_is_one_basin(thalweg: Command) -> None:
    # λ = 2 and 18: gradient descent converges from everywhere at rates below 1/9, and 0.1 · 60 steps get within 1e-5.
    found = thalweg("basins", "booth", "--lr", "0.1", *SMALL, "--json").json
    assert found["basins"] == [{"to": "minimum (1, 3)", "loss": pytest.approx(0, abs=1e-20), "share": 1.0}]
    assert (found["lr"], found["lr_chosen"], found["resolution"]) == (0.1, False, 24)
    assert found["picture"] == "runs/basins-booth-gradient_descent.png"


@pytest.mark.usefixtures("no_picture")
def test_what_diverges_and_what_does_not_arrive(thalweg: Command) -> None:
    far = thalweg("basins", "booth", "--lr", "1", *SMALL, "--json").json["basins"]
    assert far == [{"to": "diverged", "loss": None, "share": 1.0}]
    near = thalweg("basins", "booth", "--lr", "1e-6", *SMALL, "--json").json["basins"]
    assert {row["to"]: row["share"] for row in near}["unsettled"] > 0.9
    assert "unsettled" in thalweg("basins", "booth", "--lr", "1e-6", *SMALL).out


@pytest.mark.usefixtures("no_picture")
def test_a_chosen_rate_settles_as_much_as_any(thalweg: Command) -> None:
    found = thalweg("basins", "booth", "--steps", "150", "--resolution", "24", "--json").json
    # λ = 2 and 18: 0.03 contracts by 0.94 a step and 0.1 by 0.8, both enough for 150 steps; 0.1 gets lower.
    assert (found["lr"], found["lr_chosen"]) == (0.1, True)
    assert "The rate was chosen: of 17" in thalweg("basins", "booth", *SMALL).out


@pytest.mark.usefixtures("no_picture")
def test_a_long_table_is_cut(thalweg: Command) -> None:
    # 11 × 11 minima, one in each cell of the integer lattice.
    found = thalweg("basins", "rastrigin", "--lr", "0.001", "--resolution", "44", "--steps", "100")
    assert "and 101 others with" in found.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("quartic",), "basins need a surface of two coordinates, quartic has 1"),
        (("quartic", "--lr", "0.1"), "surface must be one of two coordinates"),
        (("digits",), "digits is a problem, not a surface"),
        (("booth", "--lr", "0"), "--lr must be positive and finite, got '0'"),
        (("booth", "--lr", "0.1,0.2"), "--lr must be one number or auto, got '0.1,0.2'"),
        (("booth", "--lr", "0.1", "--resolution", "1"), "resolution must be at least 2, got 1"),
        (("booth", "--optimizer", "adm"), "unknown optimizer 'adm': did you mean adam or adamw?"),
        (("booth", "--out", "map.jpg"), "--out must end in .png, .svg, .pdf, got 'map.jpg'"),
    ],
)
def test_errors(thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    assert told in thalweg("basins", *arguments).line
    assert list(tmp_path.iterdir()) == []
