"""Weights from files, without executing what a file asks to execute."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.errors import InvalidArgument, MissingData, UnsafeFile

if TYPE_CHECKING:
    import os

    from torch import Tensor

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_NESTINGS = ("state_dict", "model_state_dict", "model")
_REMEDY = "best by safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


def load_checkpoint(path: str | os.PathLike[str], names: Collection[str] = ()) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, on the CPU, in the shapes and types it was saved with.

    Reads .safetensors, and .pt, .pth and .bin as far as they hold only tensors and plain values. Takes the
    state dict out of {"state_dict": ...}, {"model_state_dict": ...} or {"model": ...}, or of another key if it is the
    only one that holds named tensors, and strips the prefixes that DistributedDataParallel and torch.compile put before
    every name, unless one of `names`, the model's own, has it.

    Raises UnsafeFile for a pickle that would execute code (it is not executed), MissingData if there is no
    such file, InvalidArgument if it is no checkpoint or holds several state dicts.
    """
    file = Path(path)
    if file.is_dir():
        raise InvalidArgument(
            f"checkpoint {file} is a folder: give a file, or load the folder as a trajectory"
        )
    if not file.exists():
        raise MissingData(f"checkpoint {file} was not found")
    if file.suffix not in _SUFFIXES:
        raise InvalidArgument(f"checkpoint {file} must be a {', '.join(_SUFFIXES)} file")
    if not file.stat().st_size:
        raise InvalidArgument(f"checkpoint {file} is empty: save it again")
    held = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
    return _state_dict(held, file, names)


def checkpoint_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Every checkpoint file in `folder`, "epoch_2" before "epoch_10".

    Raises MissingData if there are fewer than two.
    """
    place = Path(folder)
    if not place.is_dir():
        raise MissingData(f"trajectory {place} is no folder: give one that holds checkpoint files")
    files = [
        f for f in place.iterdir() if f.suffix in _SUFFIXES and f.is_file() and not f.name.startswith(".")
    ]
    if len(files) < 2:
        raise MissingData(
            f"trajectory {place} must hold at least 2 checkpoint files ({', '.join(_SUFFIXES)}), "
            f"found {len(files)}"
        )
    return sorted(files, key=_natural)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", file.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name


def _safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error


def _pickled(file: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # Of pickle protocols that the safe reader does not fully know; it then fails, which is reported.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _wanted(file, str(error))
        if wanted is None:
            raise _no_checkpoint(file) from error
        raise UnsafeFile(
            f"checkpoint {file} was refused, not executed: it is a pickle that asks for {wanted}. "
            f"Save the weights alone, {_REMEDY}"
        ) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    # A damaged file can raise nearly anything from within the pickle and zip readers.
    except Exception as error:
        raise _no_checkpoint(file) from error


def _wanted(file: Path, message: str) -> str | None:
    found = re.search(r"GLOBAL (\S+)", message)
    if found:
        return found[1]
    # The safe reader stops before naming the global where the pickle's protocol is one it does not know.
    words: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file.read_bytes()):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(words[-2:])
            if isinstance(argument, str):
                words.append(argument)
    except ValueError:
        pass
    return None


def _no_checkpoint(file: Path) -> InvalidArgument:
    # Without the reader's own message: it advises to let the file run its code, or is a bare number.
    return InvalidArgument(
        f"checkpoint {file} is no checkpoint that can be read without running code, it may be damaged or cut short: "
        f"save the weights again, {_REMEDY}"
    )


def _unreadable(file: Path, error: Exception) -> InvalidArgument:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InvalidArgument(f"checkpoint {file} cannot be read, it may be damaged or cut short: {reason}")


def _state_dict(held: Any, file: Path, names: Collection[str]) -> dict[str, Tensor]:
    from torch import Tensor

    # Not without end: a pickle may nest a dict in itself.
    for _ in _NESTINGS:
        held = _inner(held, file)
    if not isinstance(held, Mapping):
        raise InvalidArgument(f"checkpoint {file} must hold a state dict, got {type(held).__name__}")
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(held)[:6])) or "none"
        raise InvalidArgument(
            f"checkpoint {file} holds no tensors (its keys: {keys}): save model.state_dict()"
        )
    own = [p for p in _PREFIXES if any(name.startswith(p) for name in names)]
    foreign = [p for p in _PREFIXES if p not in own]
    while prefix := next((p for p in foreign if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _inner(held: Any, file: Path) -> Any:
    """The one state dict among the values of `held`, or `held` where it holds none."""
    if not isinstance(held, Mapping) or _named_tensors(held):
        return held
    found = [key for key in _NESTINGS if _holds_tensors(held.get(key))]
    found = found or [key for key, value in held.items() if _named_tensors(value)]
    if len(found) > 1:
        raise InvalidArgument(
            f"checkpoint {file} holds several state dicts ({', '.join(map(str, found))}): save the one that is meant, "
            f"{_REMEDY}"
        )
    return held[found[0]] if found else held


def _holds_tensors(held: Any, depth: int = len(_NESTINGS)) -> bool:
    """Whether there are named tensors in `held`, or in what is nested there."""
    inner = [held.get(key) for key in _NESTINGS] if isinstance(held, Mapping) and depth else []
    return _named_tensors(held) or any(_holds_tensors(one, depth - 1) for one in inner)


def _named_tensors(held: Any) -> bool:
    from torch import Tensor

    return isinstance(held, Mapping) and any(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in held.items()
    )
