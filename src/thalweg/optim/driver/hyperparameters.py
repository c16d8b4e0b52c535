"""What hyperparameters may be: numbers within bounds, or tensors with one such number."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thalweg import checks
from thalweg.errors import InvalidArgument


def rate(lr: Any, name: str = "lr") -> None:
    """Raise InvalidArgument unless `lr` is a number, or a tensor with one, that is finite and at least 0."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise InvalidArgument(f"{name} as a tensor must hold one number, got shape {tuple(lr.shape)}")
    nonnegative(lr, name)


def nonnegative(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` is finite and at least 0."""
    checks.not_negative(name, _number(value))


def positive(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` is finite and above 0."""
    checks.positive(name, _number(value))


def share(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` is a part of 1 or all of it: 0 < value ≤ 1."""
    checks.share(name, _number(value))


def averaging(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` can weigh a running average: 0 ≤ value < 1."""
    checks.below_one(name, _number(value))


def mixing(value: Any, name: str) -> None:
    """Raise InvalidArgument unless `value` can weigh one of two points against the other: 0 < value < 1."""
    checks.between(name, _number(value))


def betas(values: Any) -> None:
    """Raise InvalidArgument unless `values` are two weights of running averages."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise InvalidArgument(f"betas must be a pair of numbers in [0, 1), got {values}")
    for place, value in enumerate(values):  # pyright: ignore[reportUnknownVariableType]
        averaging(value, f"betas[{place}]")


def _number(value: Any) -> Any:
    """A tensor's one number, or a truth value's, as torch takes them; anything else as it is."""
    one = isinstance(value, Tensor) and value.numel() == 1
    return float(value) if one or isinstance(value, bool) else value
