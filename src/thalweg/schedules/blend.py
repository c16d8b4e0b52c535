"""The straight way between two rates, which decays and warm-ups run at their own pace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

Shape: TypeAlias = Literal["linear", "cosine", "sqrt"]


def blend(first: float, last: float, weight: float) -> float:
    """weight·first + (1 − weight)·last: exactly `first` at 1, `last` at 0, and never outside the two."""
    value = weight * first + (1 - weight) * last
    return min(max(value, min(first, last)), max(first, last))


def cosine_weight(x: float) -> float:
    """(1 + cos πx)/2 at x in [0, 1].

    As the square of sin(π(1 − x)/2): an exact 1 and 0 at the ends, and no cancellation near x = 1.
    """
    return math.sin(math.pi * (1 - x) / 2) ** 2


WEIGHTS: dict[Shape, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "cosine": cosine_weight,
    "sqrt": lambda x: 1 - math.sqrt(x),
}
"""What is left of a decay, 1 to 0, after the fraction x of its steps."""
