"""What arguments may be: each check names the argument, the value that came and what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from numbers import Integral, Real

from thalweg.errors import InvalidArgument


def whole(name: str, value: object, least: int = 1) -> int:
    """`value` if it is an integer of at least `least`, or InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InvalidArgument(f"{name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def positive(name: str, value: object) -> None:
    """Raise InvalidArgument unless `value` is a finite number above 0."""
    if not 0 < _real(name, value) < math.inf:
        raise InvalidArgument(f"{name} must be finite and above 0, got {value}")


def not_negative(name: str, value: object) -> None:
    """Raise InvalidArgument unless `value` is a finite number of at least 0."""
    if not 0 <= _real(name, value) < math.inf:
        raise InvalidArgument(f"{name} must be finite and at least 0, got {value}")


def share(name: str, value: object) -> None:
    """Raise InvalidArgument unless `value` is a part of 1 or all of it: 0 < value ≤ 1."""
    if not 0 < _real(name, value) <= 1:
        raise InvalidArgument(f"{name} must be in (0, 1], got {value}")


def below_one(name: str, value: object) -> None:
    """Raise InvalidArgument unless 0 ≤ value < 1, as it is for what each step keeps of the one before."""
    if not 0 <= _real(name, value) < 1:
        raise InvalidArgument(f"{name} must be in [0, 1), got {value}")


def between(name: str, value: object) -> None:
    """Raise InvalidArgument unless 0 < value < 1."""
    if not 0 < _real(name, value) < 1:
        raise InvalidArgument(f"{name} must be in (0, 1), got {value}")


def one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Raise InvalidArgument, with the nearest of the `known` words, if `value` is none of them."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}{hint}")


def _real(name: str, value: object) -> float:
    # A text that reads as a number would pass here and fail where it is used.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgument(f"{name} must be a number, got {value!r}")
    return float(value)
