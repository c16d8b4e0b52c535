from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import Command
from thalweg.cli.rates import GRID, SCHEDULES, best_rate, entries, kept, rate_schedule
from thalweg.errors import InvalidArgument
from thalweg.optim.descent import Descent
from thalweg.optim.outcomes import KINDS, Outcomes


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What would have been drawn: drawing it takes longer than the rest."""
    found: list[Figure] = []
    monkeypatch.setattr("thalweg.cli.descend.save", lambda figure, file: found.append(figure))
    return found


def losses(rates: Any, steps: int, eigenvalues: tuple[float, ...] = (1.0, 10.0), start: float = 1.0) -> Any:
    """Closed form: gradient descent contracts each coordinate of a quadratic by 1 − ηλ a step."""
    along = np.asarray(eigenvalues)
    points = start * (1 - np.multiply.outer(rates, along)) ** steps
    return 0.5 * (along * points**2).sum(-1)


def test_picture_and_table(thalweg: Command) -> None:
    found = thalweg("descend", "rosenbrock", "--optimizers", "sgd,adam", "--start", "-1.5,2", "--steps", "20")
    assert (found.status, found.err) == (0, "")
    lines = found.out.splitlines()
    assert re.split(r" {2,}", lines[0].strip()) == ["optimizer", "rate", "loss", "distance", "steps", "ends"]
    assert [line.split()[0] for line in lines[1:3]] == ["sgd", "adam"]
    assert "Rates were chosen from 17 between 1 × 10⁻⁷ and 10: " in found.out
    assert lines[-1] == "Picture: runs/descend-rosenbrock.png"
    assert Path("runs/descend-rosenbrock.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_picture_elsewhere(thalweg: Command, suffix: str, begins: bytes) -> None:
    file = Path("new") / f"picture.{suffix}"
    found = thalweg("descend", "quartic", "--lr", "0.01", "--steps", "2", "--out", file)
    assert (found.status, found.err) == (0, "")
    assert found.out.endswith(f"Picture: {file}\n")
    assert file.read_bytes().startswith(begins)


def test_the_exercise_of_the_lecture(thalweg: Command, figures: list[Figure]) -> None:
    arguments = [
        "--set",
        "condition_number=10",
        "--optimizers",
        "gradient_descent,momentum,adam",
        "--lr",
        "auto",
    ]
    found = thalweg("descend", "quadratic", *arguments, "--steps", "50", "--json").json
    assert (found["surface"], found["parameters"]["condition_number"]) == ("quadratic", 10)
    assert found["rates_tried"] == list(GRID)
    descent, momentum, adam = found["descents"]
    assert [row["optimizer"] for row in (descent, momentum, adam)] == [
        "gradient_descent",
        "momentum",
        "adam",
    ]
    expected = losses(GRID, 50)
    assert descent["lr"] == GRID[int(expected.argmin())]
    assert descent["lr_chosen"] is True
    # Fifty multiplications in double precision.
    assert descent["loss"] == pytest.approx(expected.min(), rel=1e-12)
    assert descent["distance"] == pytest.approx(np.hypot(*descent["end"]))
    along = losses(descent["lr"], np.arange(51)[:, None])
    assert descent["steps_to_a_thousandth"] == int((along <= 1e-3 * along[0]).argmax())
    assert "η = 0.1" in figures[0].legends[0].get_texts()[0].get_text()


def test_steps_count_from_the_lowest_value_known(thalweg: Command, figures: list[Figure]) -> None:
    arguments = ["--optimizers", "gradient_descent", "--lr", "0.05", "--start", "-1.5", "--steps", "40"]
    found = thalweg("descend", "quartic", *arguments, "--json").json["descents"][0]
    x = [-1.5]
    while len(x) <= 40:
        x.append(x[-1] - 0.05 * (4 * x[-1] ** 3 - 4 * x[-1] + 0.5))
    lowest = min(np.roots([4, 0, -4, 0.5]).real)
    above = np.polyval([1, 0, -2, 0.5, 0], x) - np.polyval([1, 0, -2, 0.5, 0], lowest)
    assert found["steps_to_a_thousandth"] == int((above <= 1e-3 * above[0]).argmax()) > 1
    assert found["distance"] == pytest.approx(abs(x[-1] - lowest), abs=1e-12)


def test_passing_through_a_minimum_is_no_arrival(thalweg: Command, figures: list[Figure]) -> None:
    # Adam's first step is η in each coordinate: from (1, 1) straight into the minimum, and on by its momentum.
    arguments = ["--optimizers", "adam", "--lr", "1", "--start", "1,1", "--json"]
    short = thalweg("descend", "quadratic", *arguments, "--steps", "10").json["descents"][0]
    assert short["steps_to_a_thousandth"] is None
    long = thalweg("descend", "quadratic", *arguments, "--steps", "200").json["descents"][0]
    assert 10 < long["steps_to_a_thousandth"] < 200


def test_a_chosen_rate_keeps_to_the_picture_and_ends_at_a_minimum(
    thalweg: Command, figures: list[Figure]
) -> None:
    found = thalweg("descend", "rastrigin", "--optimizers", "adam", "--json").json["descents"][0]
    # A rate of 3 ends lower, without an end and after a round outside of the picture.
    assert found["lr"] < 1
    assert found["outcome"] == "converged"


def test_the_order_of_preference_among_rates() -> None:
    """Convergence inside, then staying inside, then convergence, then the loss; divergence is the worst."""
    bounds = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])

    def best(*ends: tuple[str, float, float]) -> int:
        """The place chosen of descents with two starts, of which the second is the same for all."""
        kinds = np.array([[KINDS.index(kind), KINDS.index("wandering")] for kind, _, _ in ends])  # pyright: ignore
        path = torch.zeros(len(ends), 2, 3, 2)
        for place, (_, furthest, _) in enumerate(ends):
            path[place, 0, 1, 1] = furthest
        loss = torch.tensor([[[0.0, 9.0, last], [0.0, 9.0, 0.0]] for _, _, last in ends])
        zeros = np.zeros_like(kinds)
        outcome = Outcomes(kinds, zeros, zeros, zeros, ())
        tried = Descent(path, loss, torch.arange(3), outcome, "adam", 0.1)
        return int(best_rate(tried, range(len(ends)), bounds))

    assert best(("wandering", 0.5, 1.0), ("converged", 0.5, 2.0)) == 1
    assert best(("converged", -1.5, 1.0), ("wandering", 0.5, 2.0)) == 1
    assert best(("wandering", 1.5, 1.0), ("converged", 1.5, 2.0)) == 1
    assert best(("converged", 0.5, 2.0), ("converged", 0.5, 1.0)) == 1
    assert best(("wandering", 1.5, 2.0), ("wandering", 1.5, 1.0)) == 1
    assert best(("diverged", 0.5, 1.0), ("wandering", 1.5, 2.0)) == 1
    assert best(("diverged", math.nan, math.nan), ("diverged", math.inf, math.inf)) == 0
    # The bounds are inside.
    assert best(("wandering", 1.01, 1.0), ("wandering", 1.0, 2.0)) == 1


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (200, 1), (1000, 1), (1001, 2), (10**6, 1000)])
def test_trials_keep_a_thousand_iterates(steps: int, every: int) -> None:
    assert kept(steps) == every


def test_two_rates_of_one_optimizer(thalweg: Command, figures: list[Figure]) -> None:
    found = thalweg(
        "descend",
        "parabolic_valley",
        "--optimizers=gradient_descent",
        "--lr",
        "0.1,0.6",
        "--steps=20",
        "--json",
    ).json
    # Murphy's two pictures; the second is bounded, whatever its caption says.
    assert [row["loss"] for row in found["descents"]] == pytest.approx([0.062, 0.524], abs=5e-4)
    assert [row["lr"] for row in found["descents"]] == [0.1, 0.6]
    assert found["rates_tried"] is None
    assert not any(row["lr_chosen"] for row in found["descents"])


def test_several_starts(thalweg: Command, figures: list[Figure]) -> None:
    arguments = [
        "--optimizers",
        "gradient_descent,adam",
        "--start",
        "-1,1",
        "--start=2,-0.5",
        "--steps",
        "10",
    ]
    found = thalweg("descend", "booth", *arguments, "--json").json
    assert [row["start"] for row in found["descents"]] == [[-1, 1], [2, -0.5]] * 2
    # One rate for all starts of an optimizer.
    rates = [row["lr"] for row in found["descents"]]
    assert rates[0] == rates[1]
    assert rates[2] == rates[3]
    table = thalweg("descend", "booth", *arguments)
    assert table.out.count("−1, 1") == 2


def test_schedule(thalweg: Command, figures: list[Figure]) -> None:
    arguments = ["--set", "condition_number=10", "--optimizers", "gradient_descent", "--steps", "8"]
    found = thalweg("descend", "quadratic", *arguments, "--lr", "0.1", "--schedule", "cosine", "--json").json
    rates = 0.05 * (1 + np.cos(np.pi * np.arange(8) / 8))
    factors = np.prod(1 - np.multiply.outer(rates, [1.0, 10.0]), axis=0)
    assert found["descents"][0]["loss"] == pytest.approx(
        0.5 * (np.array([1, 10]) * factors**2).sum(), rel=1e-12
    )
    assert found["descents"][0]["lr"] == 0.1
    assert "cosine schedule" in figures[0].get_suptitle()
    chosen = thalweg("descend", "quadratic", *arguments, "--schedule", "step", "--json").json
    assert chosen["descents"][0]["lr"] in GRID


def test_line_search(thalweg: Command, figures: list[Figure]) -> None:
    arguments = ["--optimizers", "steepest_descent,momentum", "--line-search", "wolfe", "--steps", "5"]
    first, second = thalweg("descend", "himmelblau", *arguments, "--json").json["descents"]
    assert (first["optimizer"], first["lr"], first["line_search"]) == ("steepest_descent", None, "wolfe")
    assert (second["optimizer"], second["line_search"]) == ("momentum", None)
    assert "wolfe" in thalweg("descend", "himmelblau", *arguments).out
    exact = thalweg("descend", "booth", "--optimizers", "steepest_descent", "--json", "--steps", "2").json
    assert exact["descents"][0]["line_search"] == "exact"


def test_what_diverges_is_said(thalweg: Command, figures: list[Figure]) -> None:
    # The rate is above 2/λ for λ = 100, so the steep coordinate grows by 9 a step.
    arguments = ["--optimizers", "gradient_descent", "--lr", "0.1", "--steps", "400"]
    found = thalweg("descend", "quadratic", *arguments, "--json").json["descents"][0]
    assert (found["outcome"], found["loss"], found["steps_to_a_thousandth"]) == ("diverged", None, None)
    assert "diverged at step" in thalweg("descend", "quadratic", *arguments).out


def test_surfaces_of_other_dimensions(thalweg: Command, figures: list[Figure]) -> None:
    many = thalweg("descend", "linear_network", "--optimizers", "sgd", "--steps", "3")
    assert "The picture shows losses alone: linear_network has 8 coordinates." in many.out
    one = thalweg("descend", "quartic", "--optimizers", "sgd", "--start", "-1", "--steps", "3")
    assert one.status == 0
    assert "losses alone" not in one.out
    assert [len(figure.axes) for figure in figures] == [1, 2]


def test_a_surface_without_known_minimum(thalweg: Command, figures: list[Figure]) -> None:
    found = thalweg("descend", "strict_saddle", "--optimizers", "sgd", "--lr", "0.1", "--steps", "3")
    assert found.out.splitlines()[1].split()[3:5] == ["—", "—"]


def test_noise_is_drawn_from_the_seed(thalweg: Command, figures: list[Figure]) -> None:
    def loss(*arguments: object) -> float:
        common = ["descend", "booth", "--optimizers", "sgd", "--lr", "0.01", "--steps", "5", "--json"]
        return thalweg(*common, *arguments).json["descents"][0]["loss"]

    assert loss("--noise", "1", "--seed", "3") == loss("--noise", "1", "--seed", "3")
    assert len({loss(), loss("--noise", "1"), loss("--noise", "1", "--seed", "3")}) == 3


def test_a_surface_from_a_file(thalweg: Command, figures: list[Figure]) -> None:
    Path("mine.py").write_text("from thalweg import surfaces\ndef make():\n    return surfaces.booth()\n")
    assert thalweg("descend", "mine.py:make", "--steps", "1").status == 0
    Path("model.py").write_text(
        "import torch\ndef make():\n"
        "    return torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, (torch.ones(3, 1), torch.ones(3, 1))\n"
    )
    assert "model.py:make must make a Surface, got Objective" in thalweg("descend", "model.py:make").line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("digits",), "digits is a problem, not a surface: thalweg compare digits"),
        (("rosenbrok",), "unknown surface 'rosenbrok': did you mean rosenbrock?"),
        (("booth", "--optimizers", "adm"), "unknown optimizer 'adm': did you mean adam or adamw?"),
        (("booth", "--optimizers", ","), "--optimizers must name at least one"),
        (
            ("booth", "--optimizers", "sgd,sgd"),
            "--optimizers must not name one twice at the same rate, got sgd,sgd",
        ),
        (
            ("booth", "--lr", "fast"),
            "--lr must be a number, numbers with commas between, or auto, got 'fast'",
        ),
        (
            ("booth", "--lr", "0.1,0.2"),
            "--lr must hold one rate for all, or one for each of the 3 optimizers",
        ),
        (("booth", "--lr", "-1"), "--lr must be positive and finite, got '-1'"),
        (("booth", "--lr", "nan"), "--lr must be positive and finite, got 'nan'"),
        (("booth", "--lr", "0.1,0,1"), "--lr must be positive and finite, got '0.1,0,1'"),
        (
            ("booth", "--optimizers", "steepest_descent", "--lr", "1"),
            "--lr is not for steepest_descent, which has no rate, got '1'",
        ),
        (
            ("booth", "--start", "1,2,3"),
            "--start must be 2 numbers with commas between, such as -5,5, got '1,2,3'",
        ),
        (("booth", "--start", "1,inf"), "--start must be 2 numbers"),
        (("booth", "--start", "here"), "--start must be 2 numbers"),
        (("booth", "--line-search", "wolfe"), "--line-search is for steepest_descent"),
        (
            ("booth", "--optimizers", "steepest_descent", "--line-search", "golden"),
            "line_search must be one of exact, armijo, wolfe, got 'golden'",
        ),
        (("booth", "--schedule", "cosin"), "--schedule must be one of constant, cosine, exponential"),
        (("booth", "--noise", "-1"), "noise must be finite and at least 0, got -1.0"),
        (("booth", "--out", "picture.gif"), "--out must end in .png, .svg, .pdf, got 'picture.gif'"),
        (("booth", "--set", "depth=3"), "surface 'booth': "),
    ],
)
def test_errors(thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    assert told in thalweg("descend", *arguments).line
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(thalweg: Command) -> None:
    Path("taken").write_text("")
    line = thalweg("descend", "quartic", "--lr", "0.1", "--steps", "1", "--out", "taken/a.png").line
    assert line.startswith("--out taken/a.png cannot be written: ")


def test_no_steps_is_wrong_usage(thalweg: Command) -> None:
    assert thalweg("descend", "booth", "--steps", "0").status == 2


def test_rates_and_optimizers_are_paired() -> None:
    def pairs(optimizers: str, lr: str) -> list[tuple[str, float | None]]:
        return [(entry.optimizer, entry.lr) for entry in entries(optimizers, lr, None)]

    assert pairs("sgd, adam", "auto") == [("sgd", None), ("adam", None)]
    assert pairs("sgd,adam", "0.1") == [("sgd", 0.1), ("adam", 0.1)]
    assert pairs("sgd,adam", "0.1,1") == [("sgd", 0.1), ("adam", 1.0)]
    assert pairs("sgd", "0.1,1,3") == [("sgd", 0.1), ("sgd", 1.0), ("sgd", 3.0)]
    # A line search has no rate and takes none of the list.
    assert [name for name, _ in pairs("sgd,steepest_descent,adam", "1,2")] == [
        "sgd",
        "steepest_descent",
        "adam",
    ]
    assert pairs("adam,steepest_descent,sgd", "1,2")[2] == ("sgd", 2.0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_schedules_begin_or_arrive_at_the_rate(name: str, steps: int) -> None:
    schedule = rate_schedule(name, steps)(0.3)
    assert not isinstance(schedule, float)
    rates = schedule.rates(steps + 1)
    assert rates.max() == pytest.approx(0.3)
    assert rates[max(steps // 10, 1) if name == "warmup" else 0] == pytest.approx(0.3)
    ends = {
        "constant": 0.3,
        "exponential": 0.003,
        "cosine": 0,
        "linear": 0,
        "warmup": 0 if steps > 1 else 0.3,
    }
    if name in ends:
        assert rates[-1] == pytest.approx(ends[name], abs=1e-12)
    elif steps >= 10:
        assert np.unique(rates[:steps]).size == 3


def test_an_unknown_schedule() -> None:
    assert rate_schedule(None, 10)(0.3) == 0.3
    with pytest.raises(InvalidArgument, match="--schedule must be one of"):
        rate_schedule("triangle", 10)
