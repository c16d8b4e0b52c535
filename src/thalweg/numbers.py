"""Numbers as a reader wants them: no more digits than are known."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_MOST_DIGITS = 10


def with_error(value: float, error: float) -> str:
    """ "value ± error" with the error to two significant digits and the value to the same place.

    An error of NaN was not estimated and reads "± ?". A value known to more than ten digits is cut there, its
    error written as a power of ten. Both share one power of ten when they are large or small.
    """
    if not math.isfinite(value):
        return number(value)
    if math.isnan(error):
        return f"{number(value)} ± ?"
    if math.isinf(error):
        return f"{number(value)} ± ∞"
    error = abs(error)
    if error == 0:
        return f"{number(value, 6)} ± 0"
    place = _exponent(error, 2) - 1
    rounded = _rounded(value, place)
    lead = max(rounded.adjusted(), place + 1) if rounded else place + 1
    if lead - place >= _MOST_DIGITS:
        return f"{number(value, _MOST_DIGITS)} ± {number(error, 2)}"
    if -4 <= lead < 6 and place < 2:
        return f"{_at(value, place)} ± {_at(error, place)}"
    scaled = f"{_at(value, place, lead)} ± {_at(error, place, lead)}"
    return f"({scaled}) × {_power(lead)}"


def number(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits; whole numbers in full with separated thousands."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 10**digits):
        return f"{int(value):,}".replace("-", "−")
    exponent = _exponent(value, digits)
    if -4 <= exponent < 6:
        text = _at(value, min(exponent - digits + 1, 0))
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa = _at(value, exponent - digits + 1, exponent)
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa} × {_power(exponent)}"


def seconds(value: float) -> str:
    """A duration in seconds, to two digits below ten and to tenths above."""
    return f"{value:.1f} s" if value >= 10 else f"{number(value, 2)} s"


def _exponent(value: float, digits: int) -> int:
    """The power of ten of the first digit of `value` once it is rounded to `digits` digits."""
    return int(f"{value:.{digits - 1}e}".split("e")[1])


def _at(value: float, place: int, scale: int = 0) -> str:
    """`value` rounded at the digit 10^place, in units of 10^scale."""
    rounded = _rounded(value, place)
    text = f"{rounded.scaleb(-scale):f}"
    # A value that rounds to zero keeps no sign.
    return text.lstrip("-") if rounded == 0 else text.replace("-", "−")


def _rounded(value: float, place: int) -> Decimal:
    # The context's 28 digits would not hold a large value beside a small error.
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(place), ROUND_HALF_EVEN, Context(prec=800))


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"
