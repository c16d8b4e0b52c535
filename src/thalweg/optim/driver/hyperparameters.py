"""What hyperparameters may be: each check names the argument, the value and what would be right."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from thalweg.errors import InvalidArgument


def rate(lr: Any, name: str = "lr") -> None:
    """Raise InvalidArgument unless `lr` is a number, or a tensor with one, that is finite and at least 0."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise InvalidArgument(f"{name} as a tensor must hold one number, got shape {tuple(lr.shape)}")
    nonnegative(lr, name)


def nonnegative(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` is finite and at least 0."""
    if not 0 <= _number(value, name) < math.inf:
        raise InvalidArgument(f"{name} must be finite and at least 0, got {value}")


def positive(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` is finite and above 0."""
    if not 0 < _number(value, name) < math.inf:
        raise InvalidArgument(f"{name} must be finite and above 0, got {value}")


def averaging(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` can weigh a running average: 0 ≤ value < 1."""
    if not 0 <= _number(value, name) < 1:
        raise InvalidArgument(f"{name} must be in [0, 1), got {value}")


def betas(values: Any) -> None:
    """Raise InvalidArgument unless `values` are two weights of running averages."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise InvalidArgument(f"betas must be a pair of numbers in [0, 1), got {values}")
    for place, value in enumerate(values):  # pyright: ignore[reportUnknownVariableType]
        averaging(value, f"betas[{place}]")


def _number(value: Any, name: str) -> float:
    if isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1):
        return float(value)
    raise InvalidArgument(f"{name} must be a number, got {value!r}")
