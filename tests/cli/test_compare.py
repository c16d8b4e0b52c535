from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Command
from thalweg import problems
from thalweg.store import Run

SMALL = ("wine", "--set", "hidden=(3,)")
QUICK = (*SMALL, "--optimizers", "sgd, sam(momentum)", "--budget", 10, "--tune", 2, "--seeds", 2)


def test_compare_tells_a_table_and_leaves_a_picture(thalweg: Command, tmp_path: Path) -> None:
    found = thalweg("compare", *QUICK)
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith(
        "wine: 2 optimizers, 10 gradient evaluations from each of 2 seeds, ranked by test loss"
    )
    for told in (
        "sam(momentum)",
        "test accuracy",
        "train loss",
        "±",
        "to target",
        "B/param",
        "0 of 2",
        "held out",
    ):
        assert told in found.out
    assert found.out.endswith("Run: runs/wine-compare\nPicture: runs/wine-compare/comparison.png\n")
    assert (tmp_path / "runs/wine-compare/comparison.png").read_bytes().startswith(b"\x89PNG")
    # Again it only reads, and tells the same.
    assert thalweg("compare", *QUICK).out == found.out


def test_one_race_of_each(thalweg: Command) -> None:
    found = thalweg("compare", *SMALL, "--optimizers", "sgd,adam", "--budget", 5, "--tune", 0, "--seeds", 1)
    assert found.out.startswith("wine: 2 optimizers, 5 gradient evaluations from 1 seed, ranked by test loss")
    assert "from one seed, which gives no interval" in found.out
    assert "±" not in found.out
    assert "Student" not in found.out


def test_compare_as_json(thalweg: Command) -> None:
    found = thalweg(
        "compare", *QUICK, "--metric", "test-accuracy", "--schedule", "cosine", "--out", "c", "--json"
    )
    assert (found.status, found.err) == (0, "")
    told = found.json
    assert (told["metric"], told["schedule"], told["budget"], told["seeds"]) == (
        "test accuracy",
        "cosine",
        10,
        [1, 2],
    )
    assert {row["optimizer"]: row["steps"] for row in told["table"]} == {"sgd": 10, "sam(momentum)": 5}
    assert told["entries"][0]["final"]["test loss"]["mean"] == told["table"][0]["test loss"]
    assert Path(told["picture"]).is_file()
    with Run.read("c") as run:
        assert run.result("provenance")["command"].startswith("thalweg compare wine")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("booth",), "descend booth --optimizers sgd,adamw,lion descends it"),
        (
            ("goe", "--set", "dim=2", "--optimizers", "sgd(momentum=0.9), sam(adam(eps=1e-6)), muon"),
            "goe is a surface and has no data to train on: "
            "thalweg descend goe --set dim=2 --optimizers sgd,adam descends it",
        ),
        ((*SMALL, "--optimizers", "sgd(lr=0),adam"), "sgd: lr cannot be given, it is what is tuned"),
        ((*SMALL, "--optimizers", "sgd,adamv"), "unknown optimizer 'adamv': did you mean adam"),
        ((*SMALL, "--optimizers", "sgd"), "optimizers must name at least two"),
        ((*SMALL, "--schedule", "cosin"), "did you mean cosine"),
    ],
)
def test_what_cannot_be_compared(
    thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    assert told in thalweg("compare", *arguments).line
    assert list(tmp_path.iterdir()) == []


def test_lr_range(thalweg: Command, tmp_path: Path) -> None:
    found = thalweg("lr-range", *SMALL, "--optimizer", "lion", "--steps", 60)
    assert (found.status, found.err) == (0, "")
    for told in ("wine, lion", "suggestion", "blows up"):
        assert told in found.out
    assert found.out.endswith("Picture: runs/wine-lr-range.png\n")
    assert (tmp_path / "runs/wine-lr-range.png").read_bytes().startswith(b"\x89PNG")
    told = thalweg("lr-range", *SMALL, "--optimizer", "lion", "--steps", 60, "--out", "a.svg", "--json").json
    assert (told["target"], told["picture"], len(told["rates"])) == ("wine", "a.svg", 60)
    assert told["suggestion"] is None or 1e-7 <= told["suggestion"] <= 10


def test_lr_range_refuses(thalweg: Command, tmp_path: Path) -> None:
    assert "low and high must be positive" in thalweg("lr-range", *SMALL, "--low", "0").line
    assert "--out must end in" in thalweg("lr-range", *SMALL, "--out", "a.txt").line
    told = thalweg("lr-range", "booth", "--optimizer", "muon").line
    assert told == "booth is a surface and has no data to train on: thalweg descend booth descends it"
    assert list(tmp_path.iterdir()) == []


class TestTraining:
    """`thalweg train` with the optimizers of Thalweg."""

    def test_another_kind_of_optimizer_begins_with_its_own_rate(self, thalweg: Command) -> None:
        found = thalweg("train", *SMALL, "--epochs", 1, "--optimizer", "lion", "--json")
        assert (found.status, found.err) == (0, "")
        how = found.json["training"]
        assert (how["optimizer"], how["lr"], how["momentum"], how["diverged"]) == ("lion", 1e-4, 0, False)
        given = thalweg(
            "train", *SMALL, "--epochs", 1, "--optimizer", "lion", "--lr", 3e-4, "--out", "b", "--json"
        )
        assert given.json["training"]["lr"] == 3e-4

    def test_one_along_the_gradient_keeps_the_problems_rate(self, thalweg: Command) -> None:
        own = problems.get("wine").training
        assert own.optimizer == "momentum"
        how = thalweg("train", *SMALL, "--epochs", 1, "--optimizer", "nesterov", "--json").json["training"]
        assert (how["lr"], how["momentum"]) == (own.lr, own.momentum)

    def test_an_unknown_one(self, thalweg: Command, tmp_path: Path) -> None:
        told = thalweg("train", *SMALL, "--optimizer", "adamv").line
        assert told.startswith("unknown optimizer 'adamv': did you mean adam")
        assert "unknown optimizer" in thalweg("train", *SMALL, "--optimizer", "adamv", "--lr", 1).line
        assert list(tmp_path.iterdir()) == []
