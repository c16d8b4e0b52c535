from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.comparison.rates import FINEST, at_edge, best_place, next_place, rate_at
from thalweg.comparison.tuning import tune
from thalweg.errors import InvalidArgument


def places(score: Callable[[float], float], trials: int) -> dict[float, float]:
    scores: dict[float, float] = {}
    for _ in range(trials):
        place = next_place(scores)
        assert place not in scores
        scores[place] = score(place)
    return scores


def test_begins_with_half_decades_around_the_default() -> None:
    assert list(places(abs, 5)) == [0, 1, -1, 2, -2]
    assert [rate_at(place, 0.02) for place in (0, 1, 2, -2)] == pytest.approx(
        [0.02, 0.02 * 10**0.5, 0.2, 0.002]
    )


def test_the_grid_grows_while_the_best_is_at_its_edge_and_is_then_refined() -> None:
    scores = places(lambda place: (place - 5.6) ** 2, 12)
    # Half a decade beyond 2, then decades: 5 and 7 enclose 5.6, gaps are halved down to 0.5, and the grid widens.
    assert list(scores)[5:] == [3, 5, 7, 6, 6.5, 5.5, 8]
    assert best_place(scores) == 5.5
    assert not at_edge(scores)
    assert list(places(lambda place: -place, 9))[5:] == [3, 5, 7, 9]
    assert at_edge(places(lambda place: -place, 9))
    assert list(places(lambda place: place, 8))[5:] == [-3, -5, -7]


def test_divergence_is_the_worst_and_sends_the_search_down() -> None:
    scores = places(lambda place: math.nan if place > -4 else (place + 5) ** 2, 9)
    assert list(scores)[5:] == [-3, -5, -7, -4]
    assert best_place(scores) == -5
    assert list(places(lambda place: math.inf, 7))[5:] == [-3, -5]


def test_of_equal_scores_the_one_nearest_to_the_default() -> None:
    assert best_place({0.0: 1.0, 1.0: 0.5, -1.0: 0.5, 2.0: 0.5}) == -1
    assert best_place({0.0: math.nan, 1.0: math.inf, -1.0: 3.0}) == -1


@given(st.floats(-12, 12), st.floats(0.1, 5))
def test_a_bowl_in_the_logarithm_is_found_to_a_quarter_of_a_decade(bottom: float, width: float) -> None:
    scores = places(lambda place: ((place - bottom) / width) ** 2, 16)
    # Sixteen trials reach 2 + 1 + 2·5 half decades with five to spare, of which four halve the gaps of 2 to 0.5.
    assert abs(best_place(scores) - bottom) <= FINEST / 2 + 1e-9


def test_tune_tells_what_it_did() -> None:
    seen: list[tuple[int, float]] = []

    def score(number: int, rate: float) -> float:
        seen.append((number, rate))
        return abs(math.log10(rate))

    found = tune(1e-3, 11, score)
    assert seen == [(number, rate) for number, (rate, _) in enumerate(found.trials)]
    assert found.rate == pytest.approx(1.0, rel=1e-12)
    assert (found.extended, found.at_edge) == (True, False)
    found = tune(1e-3, 6, score)
    assert (found.extended, found.at_edge) == (True, True)
    found = tune(1.0, 12, score)
    assert (found.rate, found.extended, found.at_edge) == (1.0, False, False)
    assert tune(0.5, 1, score).trials == ((0.5, pytest.approx(abs(math.log10(0.5)))),)


class TestOptuna:
    def test_is_asked_for_where_it_is_not_installed(self) -> None:
        if importlib.util.find_spec("optuna") is None:
            with pytest.raises(InvalidArgument, match=r"install thalweg\[tuning\]"):
                tune(1.0, 3, lambda number, rate: 0.0, tuner="optuna")

    def test_finds_a_bowl_and_depends_on_scores_alone(self) -> None:
        pytest.importorskip("optuna")

        def score(number: int, rate: float) -> float:
            return math.inf if rate > 1 else (math.log10(rate) + 1.5) ** 2

        found = tune(1e-2, 30, score, tuner="optuna", seed=4)
        assert len(found.trials) == 30
        assert 0.3 < found.rate / 10**-1.5 < 3
        assert tune(1e-2, 30, score, tuner="optuna", seed=4) == found
        assert tune(1e-2, 30, score, tuner="optuna", seed=5) != found
