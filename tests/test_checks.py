from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from thalweg import checks
from thalweg.errors import InvalidArgument

CASES = [
    (checks.positive, "finite and above 0", [5e-324, 1, 1e308], [0, -0.0, -1e-9, math.inf, math.nan]),
    (checks.not_negative, "finite and at least 0", [0, -0.0, 1e308], [-5e-324, math.inf, math.nan]),
    (checks.share, "in (0, 1]", [5e-324, 0.5, 1], [0, -0.1, 1 + 2**-52, math.inf, math.nan]),
    (checks.below_one, "in [0, 1)", [0, 0.5, 1 - 2**-53], [-5e-324, 1, math.inf, math.nan]),
    (checks.between, "in (0, 1)", [5e-324, 0.5, 1 - 2**-53], [0, 1, -math.inf, math.nan]),
]


@pytest.mark.parametrize(("check", "bounds", "good", "bad"), CASES)
def test_bounds(
    check: Callable[[str, object], None], bounds: str, good: list[float], bad: list[float]
) -> None:
    for value in good:
        check("x", value)
    for value in bad:
        with pytest.raises(InvalidArgument) as raised:
            check("x", value)
        assert str(raised.value) == f"x must be {bounds}, got {value}"


@pytest.mark.parametrize("check", [case[0] for case in CASES])
def test_numbers_of_any_kind_and_nothing_else(check: Callable[[str, object], None]) -> None:
    for value in (Fraction(1, 2), np.float32(0.5), np.float64(0.5)):
        check("x", value)
    for value in (True, "0.5", None, 0.5j, [0.5]):
        with pytest.raises(InvalidArgument) as raised:
            check("x", value)
        assert str(raised.value) == f"x must be a number, got {value!r}"


def test_whole_numbers() -> None:
    assert checks.whole("n", 1) == 1
    assert checks.whole("n", 0, 0) == 0
    bad: list[tuple[Any, int]] = [(0, 1), (-1, 0), (2.0, 1), (True, 1), ("3", 1), (None, 0)]
    for value, least in bad:
        with pytest.raises(InvalidArgument) as raised:
            checks.whole("n", value, least)
        assert str(raised.value) == f"n must be an integer of at least {least}, got {value!r}"


def test_words() -> None:
    checks.one_of("shape", "sqrt", ["linear", "sqrt"])
    with pytest.raises(InvalidArgument, match=r"^shape must be 'a' or 'b', got 'xyz'$"):
        checks.one_of("shape", "xyz", ["a", "b"])
    with pytest.raises(InvalidArgument, match="got 'linar': did you mean 'linear'"):
        checks.one_of("shape", "linar", ["linear", "sqrt"])
