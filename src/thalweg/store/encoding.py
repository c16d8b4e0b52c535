"""Values as JSON text: floats come back bit for bit, NaN and infinities included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from thalweg.errors import InvalidArgument

JSON: TypeAlias = Any
"""None, a bool, int, float or str, or lists and string-keyed dicts of these, as `json.loads` returns them."""


def encode(value: Any, name: str) -> str:
    """The JSON text of `value`, NumPy scalars and arrays as numbers and lists.

    Raises InvalidArgument, naming the place within `name`, for anything JSON has no word for.
    """
    return json.dumps(_plain(value, name))


def encode_numbers(values: Mapping[str, Any], name: str) -> str:
    """The JSON text of named numbers, each converted by `float`.

    Raises InvalidArgument, naming the key, for a value that is no number.
    """
    numbers: dict[str, float] = {}
    for key, value in values.items():
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InvalidArgument(f"{name}.{key} must be a number, got {value!r}") from error
    return json.dumps(numbers)


def _plain(value: Any, where: str) -> JSON:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            # json.dumps would turn the key 1 into "1", so that what is read is not what was written.
            if not isinstance(key, str):
                raise InvalidArgument(f"{where} must have strings as keys, got {key!r}")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    raise InvalidArgument(
        f"{where} must be JSON (numbers, strings, lists, dicts) or NumPy arrays, got {type(value).__name__}"
    )
