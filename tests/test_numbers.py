from __future__ import annotations

import math
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.report import number, with_error

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.12977, 0.04348, "0.130 ± 0.043"),
        (4.951462, 0.090853, "4.951 ± 0.091"),
        (-0.0043136, 5.1e-6, "−0.0043136 ± 0.0000051"),
        (1234.6, 12.0, "1235 ± 12"),
        (0.00001, 1.2, "0.0 ± 1.2"),
        (0.0, 0.5, "0.00 ± 0.50"),
        # An error that rounds up to the next power of ten keeps two digits.
        (1.23456, 0.0996, "1.23 ± 0.10"),
        (1.0, -0.25, "1.00 ± 0.25"),
        (2.005239e-6, 1.022743e-6, "(2.0 ± 1.0) × 10⁻⁶"),
        (6.02214e23, 1.5e19, "(6.02214 ± 0.00015) × 10²³"),
        (501601.999, 151488.16, "(5.0 ± 1.5) × 10⁵"),
        (9.9996e-301, 1e-302, "(1.000 ± 0.010) × 10⁻³⁰⁰"),
        (1001.6006392316652, 1.271e-13, "1001.600639 ± 1.3 × 10⁻¹³"),
        (4.350946e-25, 0.0, "4.35095 × 10⁻²⁵ ± 0"),
        (1.0, 0.0, "1 ± 0"),
        (0.12977, NAN, "0.1298 ± ?"),
        (0.12977, INF, "0.1298 ± ∞"),
        (NAN, 0.1, "not a number"),
        (INF, 0.1, "∞"),
        (-INF, NAN, "−∞"),
    ],
)
def test_value_and_error(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (17226, "17,226"),
        (-3, "−3"),
        (0.0, "0"),
        (20.0, "20"),
        (12.9742, "12.97"),
        (0.05, "0.05"),
        (8.533e-05, "8.533 × 10⁻⁵"),
        (999999.6, "1 × 10⁶"),
        (123456.7, "123457"),
        (-1e300, "−1 × 10³⁰⁰"),
        (NAN, "not a number"),
        (INF, "∞"),
        (True, "1"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def read(text: str) -> tuple[Decimal, Decimal]:
    """Value and error of the text, as a reader takes them."""
    plain = text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")).replace(",", "")
    found = re.fullmatch(r"\((.*) ± (.*)\) × 10(.*)", plain)
    if found:
        scale = Decimal(10) ** int(found[3])
        return Decimal(found[1]) * scale, Decimal(found[2]) * scale
    value, error = (re.sub(r" × 10", "e", part) for part in plain.split(" ± "))
    return Decimal(value), Decimal(error)


@given(
    st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12),
    st.floats(1e-9, 1e9),
)
def test_rounding_stays_within_the_digits_shown(value: float, error: float) -> None:
    shown, spread = read(with_error(value, error))
    # Two digits: the error is off by at most 5 in the third digit, that is 5 % of itself.
    assert abs(spread - Decimal(error)) <= Decimal(error) * Decimal("0.05001")
    # The value is rounded at the error's second digit, or at its own tenth where that comes first.
    assert abs(shown - Decimal(value)) <= max(
        Decimal(error) * Decimal("0.051"), abs(Decimal(value)) * Decimal("5.1e-10")
    )
