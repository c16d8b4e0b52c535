"""Telling functions apart by what they compute: the names under which compiled kernels are kept."""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from torch import Tensor

from thalweg.objective.identity import content

LIBRARIES = ("torch", "numpy", "scipy", "math", "builtins")


def code_of(functions: Iterable[Callable[..., Any] | None]) -> str:
    """Digest of what functions compute: their code, and all functions, numbers and tensors that it reaches by name.

    Functions of torch and NumPy count by their names.
    """
    digest = hashlib.sha256(_drivers().encode())
    # What was seen is held, for the address of what is gone is given to another.
    seen: dict[int, Any] = {}
    for function in functions:
        for part in _parts(function, seen):
            digest.update(part)
    return digest.hexdigest()


def _parts(value: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield content(value)
        return
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield repr(value).encode()
        return
    if id(value) in seen:
        return
    seen[id(value)] = value
    yield type(value).__name__.encode()
    module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
    if module.partition(".")[0] in LIBRARIES or isinstance(value, (ModuleType, type)):
        yield f"{module}.{getattr(value, '__qualname__', '')}".encode()
    elif isinstance(value, FunctionType):
        yield from _parts([value.__code__, value.__defaults__, value.__kwdefaults__], seen)
        for cell in value.__closure__ or ():
            yield from _parts(cell.cell_contents, seen)
        for reached in _reached(value):
            yield from _parts(reached, seen)
    elif isinstance(value, CodeType):
        yield value.co_code
        yield repr(value.co_names).encode()
        yield from _parts(value.co_consts, seen)
    elif isinstance(value, MethodType):
        yield from _parts([value.__func__, value.__self__], seen)
    elif isinstance(value, partial):
        made = cast("partial[Any]", value)
        yield from _parts([made.func, made.args, made.keywords], seen)
    elif isinstance(value, Mapping):
        for key, entry in cast("Mapping[Any, Any]", value).items():
            yield from _parts([key, entry], seen)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for entry in cast("list[Any]", value):
            yield from _parts(entry, seen)
    else:
        yield from _parts([vars(type(value)).get("__call__"), getattr(value, "__dict__", repr(value))], seen)


def _reached(function: FunctionType) -> Iterator[Any]:
    """What a function's code, and that of functions written in it, reaches by global name, also through modules."""
    for code in _codes(function.__code__):
        reached: Any = None
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                reached = function.__globals__.get(str(step.argval))
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(reached, ModuleType):
                reached = getattr(reached, str(step.argval), None)
            else:
                reached = None
            if reached is not None and not isinstance(reached, ModuleType):
                yield reached


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@cache
def _drivers() -> str:
    """Digest of the files whose code is compiled around a rule."""
    folder = Path(__file__).parent
    files = [folder / "rule.py", folder / "flat.py", folder / "batched.py", folder.parent / "descent.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
