"""Step lengths against SciPy's, and against the conditions they are defined by."""

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import InvalidArgument
from thalweg.optim.line_search import CURVATURE, SUFFICIENT, Line, search

FUNCTIONS = {
    "quadratic": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    # From More and Thuente (1994), section 5: flat, then steep.
    "rational": (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
    "steep": (
        lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4,
        lambda t: (t + 0.004) ** 3 * (5 * (t + 0.004) - 8),
    ),
    "exponential": (lambda t: math.exp(min(t, 700)) - 10 * t, lambda t: math.exp(min(t, 700)) - 10),
}


def line(name: str) -> Line:
    value, slope = FUNCTIONS[name]
    return Line(lambda t: (value(t), slope(t)), value(0.0), slope(0.0))


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_wolfe_meets_both_conditions(name, first):
    value, slope = FUNCTIONS[name]
    found = search(line(name), "wolfe", first)
    assert found.met
    assert value(found.t) <= value(0) + SUFFICIENT * found.t * slope(0)
    assert abs(slope(found.t)) <= CURVATURE * abs(slope(0))


@pytest.mark.parametrize("name", ["quadratic", "rational", "exponential"])
def test_exact_finds_scipys_minimum(name):
    value, slope = FUNCTIONS[name]
    found = search(line(name), "exact", 0.5)
    oracle = scipy.optimize.minimize_scalar(value, bounds=(0, 6), method="bounded", options={"xatol": 1e-12})
    # The minimum of a function is known to about the root of its rounding, 1e-8; that of its slope is sharper.
    assert found.t == pytest.approx(oracle.x, abs=1e-6)
    assert abs(slope(found.t)) < 1e-14 * (1 + abs(slope(0)))


@given(scale=st.floats(1e-6, 1e6), first=st.floats(1e-6, 1e6))
def test_exact_on_parabolas_of_any_scale(scale, first):
    parabola = Line(lambda t: (scale * (t - 1) ** 2, 2 * scale * (t - 1)), scale, -2 * scale)
    assert search(parabola, "exact", first).t == pytest.approx(1, rel=1e-14)


@given(first=st.floats(1e-3, 1e6))
def test_armijo_halves_until_the_loss_falls_enough(first):
    parabola = Line(lambda t: ((t - 1) ** 2, 2 * (t - 1)), 1.0, -2.0)
    t = search(parabola, "armijo", first).t
    # On this parabola the condition reads t <= 2 - 2c.
    allowed = 2 - 2 * SUFFICIENT
    assert t <= allowed
    assert t == first or 2 * t > allowed


def test_wolfe_agrees_with_scipys_line_search():
    value, slope = FUNCTIONS["quadratic"]
    alpha, *_ = scipy.optimize.line_search(
        lambda x: value(x[0]),
        lambda x: np.array([slope(x[0])]),
        xk=np.zeros(1),
        pk=np.ones(1),
        c1=SUFFICIENT,
        c2=CURVATURE,
    )
    # Both try 1 first, which meets the conditions here.
    assert search(line("quadratic"), "wolfe", 1.0).t == pytest.approx(alpha)


def test_without_a_lower_bound_the_search_says_so():
    falling = Line(lambda t: (-t, -1.0), 0.0, -1.0)
    assert not search(falling, "exact", 1.0).met
    assert not search(falling, "wolfe", 1.0).met


@pytest.mark.parametrize("method", ["exact", "wolfe", "armijo"])
def test_infinite_values_are_stepped_back_from(method):
    def evaluate(t: float) -> tuple[float, float]:
        return ((t - 1) ** 2, 2 * (t - 1)) if t < 5 else (math.nan, math.nan)

    found = search(Line(evaluate, 1.0, -2.0), method, 64.0)
    assert 0 < found.t < 2
    assert found.met


def test_unknown_method():
    with pytest.raises(
        InvalidArgument, match="line_search must be one of exact, armijo, wolfe, got 'strong'"
    ):
        search(line("quadratic"), "strong", 1.0)


def test_each_point_is_evaluated_once():
    calls: list[float] = []

    def evaluate(t: float) -> tuple[float, float]:
        calls.append(t)
        return (t - 3) ** 2, 2 * (t - 3)

    parabola = Line(evaluate, 9.0, -6.0)
    search(parabola, "wolfe", 0.01)
    assert len(calls) == len(set(calls)) == parabola.evaluations
