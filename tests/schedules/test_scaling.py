from __future__ import annotations

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import InvalidArgument
from thalweg.schedules import BeyondCriticalBatch, cosine, scale_rate, warmup

POSITIVE = st.floats(1e-6, 1e6)


def test_the_rules() -> None:
    # Goyal et al.: 0.1 for 256 images, 3.2 for 8192.
    assert scale_rate(0.1, 256, 8192) == 3.2
    assert scale_rate(1e-3, 64, 1024, rule="sqrt") == 4e-3
    assert scale_rate(0.4, 128, 32) == 0.1
    assert type(scale_rate(1, 2, 4)) is float


@given(lr=POSITIVE, a=POSITIVE, b=POSITIVE, c=POSITIVE, rule=st.sampled_from(["linear", "sqrt"]))
def test_scaling_twice_is_scaling_once_and_back_is_the_same_rate(
    lr: float, a: float, b: float, c: float, rule: str
) -> None:
    def scale(rate: float, old: float, new: float) -> float:
        return scale_rate(rate, old, new, rule=rule)  # pyright: ignore[reportArgumentType]

    # Three roundings for each of at most three scalings.
    assert scale(scale(lr, a, b), b, c) == pytest.approx(scale(lr, a, c), rel=2e-15, abs=0)
    assert scale(scale(lr, a, b), b, a) == pytest.approx(lr, rel=2e-15, abs=0)
    assert scale(lr, a, a) == lr
    power = 1 if rule == "linear" else 0.5
    assert scale(lr, a, b) == pytest.approx(lr * (b / a) ** power, rel=1e-14, abs=0)


def test_past_the_critical_batch_size_a_warning_names_both_numbers_and_the_way_out() -> None:
    with pytest.warns(BeyondCriticalBatch) as caught:
        assert scale_rate(0.1, 256, 8192, critical=1024.0) == 3.2
    (warning,) = caught
    message = str(warning.message)
    assert "new_batch 8,192 is past the critical batch size 1,024" in message
    assert "use batches of at most that size, with a rate of 0.4" in message
    assert warning.filename == __file__
    with pytest.warns(UserWarning, match="the sqrt rule stops to hold.*a rate of 0.2,"):
        scale_rate(0.1, 256, 8192, "sqrt", critical=1024)


@pytest.mark.parametrize("critical", [None, 8192, 8192.5, math.inf])
def test_up_to_it_there_is_none(critical: float | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scale_rate(0.1, 256, 8192, critical=critical) == 3.2


def test_with_warm_up_as_the_rule_is_meant() -> None:
    s = warmup(500, then=cosine(scale_rate(0.1, 256, 8192), steps=4500), start=0.1)
    assert [s(0), s(500), s(5000)] == [0.1, 3.2, 0.0]


@pytest.mark.parametrize("name", ["lr", "batch", "new_batch"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "256"])
def test_nothing_but_positive_numbers(name: str, value: object) -> None:
    given = {"lr": 0.1, "batch": 256, "new_batch": 512} | {name: value}
    with pytest.raises(InvalidArgument, match=f"^{name} must be .*, got {value!r}"):
        scale_rate(**given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("critical", [0, -3, math.nan])
def test_a_critical_size_is_positive(critical: float) -> None:
    with pytest.raises(InvalidArgument, match="critical must be above 0, got"):
        scale_rate(0.1, 256, 512, critical=critical)


def test_unknown_rules() -> None:
    with pytest.raises(
        InvalidArgument, match="rule must be 'linear' or 'sqrt', got 'lineer': did you mean 'linear'"
    ):
        scale_rate(0.1, 256, 512, rule="lineer")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match=r"rule must be 'linear' or 'sqrt', got 'cube'$"):
        scale_rate(0.1, 256, 512, rule="cube")  # pyright: ignore[reportArgumentType]
