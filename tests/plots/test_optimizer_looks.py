from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like

from thalweg.optim.names import OTHERS, names
from thalweg.plots import COLORS, descent_curve, descent_losses, descents, seed_curves, tuning_curves
from thalweg.plots.optimizer_looks import optimizer_looks

KNOWN = sorted({*names(), *OTHERS})
LABELS = st.lists(
    st.one_of(st.sampled_from(KNOWN), st.text("abc_(), =η", max_size=6)), min_size=1, max_size=12, unique=True
)
X = np.linspace(-1, 1, 9)


def test_every_optimizer_has_a_look_of_its_own() -> None:
    looks = optimizer_looks(KNOWN)
    assert len(set(looks)) == len(KNOWN)
    # None was chosen for want of another: each is what the optimizer has alone.
    assert looks == [optimizer_looks([name])[0] for name in KNOWN]
    assert all(is_color_like(color) for color, _ in looks)


@pytest.mark.parametrize(
    "race",
    [
        ("gradient_descent", "momentum", "adam"),
        ("sgd", "momentum", "nesterov", "adam", "lion"),
        ("sgd", "adamw", "lion", "schedule_free_adamw", "muon"),
    ],
)
def test_what_is_often_seen_together_differs_in_colour_and_has_solid_lines(race: Sequence[str]) -> None:
    looks = optimizer_looks(race)
    assert len({color for color, _ in looks}) == len(race)
    assert {dashes for _, dashes in looks} == {"-"}


@pytest.mark.parametrize(
    "label",
    [
        "schedule_free_sgd, η = 0.1",
        "schedule_free_sgd(warmup=3)",
        "Schedule-Free SGD",
        "schedule free sgd η=0.1",
    ],
)
def test_a_label_looks_like_the_optimizer_that_it_begins_with(label: str) -> None:
    assert optimizer_looks([label]) == optimizer_looks(["schedule_free_sgd"]) != optimizer_looks(["sgd"])


@given(LABELS)
def test_a_look_does_not_depend_on_what_else_is_in_the_picture(labels: list[str]) -> None:
    for label, look in zip(labels, optimizer_looks(labels), strict=True):
        if label in KNOWN:
            assert look == optimizer_looks([label])[0]


def test_an_unknown_optimizer_keeps_off_the_colours_in_the_picture() -> None:
    alone = optimizer_looks(["a rule of mine"])
    assert alone == optimizer_looks(["a rule of mine"])
    assert alone[0] not in optimizer_looks(KNOWN)
    for rest in ("sgd", "adam", "lion", "gradient_descent", "momentum", "nesterov", "adamw"):
        mine, other = optimizer_looks(["a rule of mine", rest])
        assert mine[0] != other[0]
        assert other == optimizer_looks([rest])[0]
        assert mine == alone[0] or alone[0][0] == other[0]


@given(LABELS)
def test_looks_in_one_picture_differ(labels: list[str]) -> None:
    assert len(set(optimizer_looks(labels))) == len(labels)


def test_several_of_one_optimizer_among_others_share_a_hue() -> None:
    first, second, other = optimizer_looks(["adamw", "adamw(weight_decay=0.1)", "sgd"])
    assert first == optimizer_looks(["adamw"])[0]
    assert second[1] != first[1]
    parts = [np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color, _ in (first, second)]
    # Darker by one factor, up to rounding.
    assert parts[1] / parts[0] == pytest.approx(0.6, abs=0.02)
    assert other == optimizer_looks(["sgd"])[0]


def test_rates_of_one_optimizer_differ_in_colour() -> None:
    looks = optimizer_looks([f"adam, η = {rate}" for rate in (0.1, 0.2, 0.4)])
    assert looks[0] == optimizer_looks(["adam"])[0]
    assert len({color for color, _ in looks}) == 3
    assert {dashes for _, dashes in looks} == {"-"}
    many = optimizer_looks([f"adam, η = {rate}" for rate in range(20)])
    assert len(set(many)) == 20


def _descents(labels: Sequence[str]) -> Axes:
    path = np.array([[0.5, 0.5], [0.0, 0.0]])
    return descents(X, X, np.add.outer(X**2, X**2), dict.fromkeys(labels, path))


def _curve(labels: Sequence[str]) -> Axes:
    path = np.array([0.5, 0.0])
    return descent_curve(X, X**2, dict.fromkeys(labels, path), dict.fromkeys(labels, path**2))


PICTURES: list[Callable[[Sequence[str]], Axes]] = [
    _descents,
    _curve,
    lambda labels: descent_losses({label: [2.0, 1.0] for label in labels}),
    lambda labels: seed_curves({label: ([0, 1], [[2.0, 1.0]]) for label in labels}),
    lambda labels: tuning_curves({label: ([0.1, 1.0], [2.0, 1.0]) for label in labels}),
]


@pytest.mark.parametrize("picture", PICTURES)
def test_a_colour_stays_with_its_optimizer_in_all_pictures(picture: Callable[[Sequence[str]], Axes]) -> None:
    for labels in (["lion", "adam"], ["adam", "sgd", "lion"]):
        lines = [line.get_color() for line in picture(labels).lines if len(line.get_xdata()) > 1]
        assert [color for color in lines if color in {COLORS["orange"], COLORS["green"]}] == [
            COLORS["orange"] if label == "lion" else COLORS["green"] for label in labels if label != "sgd"
        ]
