"""What schedules accept: whole numbers of steps, finite rates, and words from a list."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from numbers import Real

from thalweg.errors import InvalidArgument


def whole(name: str, value: object, least: int = 1) -> int:
    """`value` if it is an integer of at least `least`, or InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{name} must be a whole number, at least {least}, got {value!r}")
    return value


def positive(name: str, value: object, most: float = math.inf) -> float:
    """`value` as a finite float above 0 and at most `most`, or InvalidArgument."""
    real = _real(value)
    if not (0 < real <= most and math.isfinite(real)):
        bound = "" if math.isinf(most) else f" and at most {most:g}"
        raise InvalidArgument(f"{name} must be a number above 0{bound}, got {value!r}")
    return real


def not_negative(name: str, value: object) -> float:
    """`value` as a finite float of at least 0, or InvalidArgument."""
    real = _real(value)
    if not (real >= 0 and math.isfinite(real)):
        raise InvalidArgument(f"{name} must be a finite number, at least 0, got {value!r}")
    return real


def one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Raises InvalidArgument, with the nearest of the `known` words, if `value` is none of them."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}{hint}")


def _real(value: object) -> float:
    # A text that reads as a number would pass here and fail at the first step.
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    return float(value)
