"""Telling functions of θ apart: a digest of what a loss computes."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping, Set
from typing import Any, cast

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def content(tensor: Tensor) -> bytes:
    """The bytes of a tensor's entries."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def identity(value: Any, without: Set[int] = frozenset()) -> Iterator[bytes]:
    """What tells a loss from another one: names, code, options and tensors, without those whose id is in `without`.

    A module is its printed form, its options and its tensors; a function its bytecode, defaults and the plain
    values and functions that it closes over; any other object its type, plain options and tensors.
    """
    if isinstance(value, Tensor):
        if id(value) not in without:
            yield f"{value.dtype}{tuple(value.shape)}".encode()
            yield content(value)
    elif isinstance(value, nn.Module):
        yield f"{type(value).__qualname__}{value}".encode()
        options = {name: option for name, option in vars(value).items() if not name.startswith("_")}
        options.pop("training")
        yield from identity(options, without)
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield name.encode()
            yield from identity(tensor, without)
    elif isinstance(value, functools.partial):
        yield from identity([value.func, list(value.args), value.keywords], without)
    elif isinstance(value, types.MethodType):
        yield from identity([value.__func__, value.__self__], without)
    elif isinstance(value, types.FunctionType):
        yield value.__qualname__.encode()
        yield from identity(value.__code__)
        # A function that closes over itself would not end; names and code of the inner ones are enough.
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        inner = [cell.__code__ if isinstance(cell, types.FunctionType) else cell for cell in cells]
        modules = [cell for cell in inner if not isinstance(cell, nn.Module)]
        yield from identity([list(value.__defaults__ or ()), value.__kwdefaults__ or {}, modules], without)
    elif isinstance(value, types.CodeType):
        yield value.co_code
        yield repr(value.co_names).encode()
        yield from identity(list(value.co_consts))
    elif isinstance(value, (list, tuple)):
        for entry in cast("list[Any]", value):
            yield from identity(entry, without)
    elif isinstance(value, Mapping):
        for key, entry in cast("Mapping[Any, Any]", value).items():
            yield repr(key).encode()
            yield from identity(entry, without)
    elif isinstance(value, _PLAIN):
        yield repr(value).encode()
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__).encode()
        options = getattr(value, "__dict__", {}) if not isinstance(value, type) else {}
        plain = {name: option for name, option in options.items() if isinstance(option, (*_PLAIN, Tensor))}
        yield from identity(plain, without)
