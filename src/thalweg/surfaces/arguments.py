"""What the surfaces' factories accept: whole numbers and finite numbers within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument


def whole(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """`value` if it is an integer of at least `least` (and at most `most`), or InvalidArgument."""
    bounds = f"at least {least}" if most is None else f"between {least} and {most}"
    if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"{name} must be an integer, got {value!r}")
    if value < least or (most is not None and value > most):
        raise InvalidArgument(f"{name} must be {bounds}, got {value}")
    return value


def number(name: str, value: float, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """`value` as a finite float of at least `least` and above `above`, or InvalidArgument."""
    bound = f" at least {least:g}" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
    try:
        real = float(value)
    except (TypeError, ValueError):
        real = math.nan
    if not math.isfinite(real) or real < least or real <= above:
        raise InvalidArgument(f"{name} must be a finite number{bound}, got {value!r}")
    return real


def vector(name: str, values: float | Sequence[float] | Tensor, size: int) -> Tensor:
    """`size` finite numbers as a float64 vector, one number standing for all, or InvalidArgument."""
    try:
        given = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(f"{name} must be a number or {size} numbers, got {values!r}") from error
    if given.dim() == 0:
        given = given.repeat(size)
    if given.shape != (size,) or not bool(given.isfinite().all()):
        raise InvalidArgument(f"{name} must be a finite number or {size} finite numbers, got {values!r}")
    return given
