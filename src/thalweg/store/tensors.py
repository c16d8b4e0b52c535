"""Named sets of arrays as safetensors files whose digests the database knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from thalweg.errors import InvalidArgument, UnsafeFile
from thalweg.store.atomic import remove_orphans, replacing
from thalweg.store.confinement import checked_name, inside
from thalweg.store.database import Database

FOLDER = "tensors"
_KINDS = "biuf"


class TensorFiles:
    """The files `tensors/NAME.safetensors` of a run.

    The digest is recorded before the file gets its name and older digests are forgotten after, so that at
    every moment, a kill or a power cut included, a file that is there is the old or the new one and known.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._folder = database.folder / FOLDER

    def put(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Write NumPy arrays or torch tensors of any shape as `name`; bfloat16 becomes float32."""
        content = _serialized({key: _array(value, f"{name}.{key}") for key, value in tensors.items()}, name)
        path = self._path(name)
        digest = hashlib.sha256(content).hexdigest()
        self._database.execute_durably("INSERT OR IGNORE INTO tensors VALUES (?, ?)", name, digest)
        try:
            self._folder.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise self._database.explain(error) from error
        self._database.execute("DELETE FROM tensors WHERE name = ? AND sha256 <> ?", name, digest)

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays written as `name`, or None.

        Raises UnsafeFile if the file is not the one that was written or leads out of the run folder.
        """
        path = self._path(name)
        known = {
            digest for (digest,) in self._database.execute("SELECT sha256 FROM tensors WHERE name = ?", name)
        }
        if not known or not path.exists():
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._database.explain(error) from error
        if hashlib.sha256(content).hexdigest() not in known:
            raise UnsafeFile(
                f"{path} was changed or cut short after it was written, so it was refused: delete it"
            )
        try:
            return safetensors.load(content)
        except (SafetensorError, KeyError) as error:
            raise UnsafeFile(f"{path} is no readable safetensors file ({error}): delete it") from error

    def names(self) -> list[str]:
        """The names that `get` returns arrays for, sorted."""
        recorded = {name for (name,) in self._database.execute("SELECT name FROM tensors")}
        return sorted(name for name in recorded if self._path(name).exists())

    def remove_orphans(self) -> None:
        """Delete the temporary files of killed writers."""
        remove_orphans(inside(self._database.folder, self._folder))

    def _path(self, name: str) -> Path:
        return inside(self._database.folder, self._folder / f"{checked_name(name)}.safetensors")


def _array(value: Any, where: str) -> NDArray[Any]:
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            # NumPy has no bfloat16.
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        # Not ascontiguousarray, which would make shape () into (1,).
        array = np.asarray(value, order="C")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(f"{where} cannot be made an array: {error}") from error
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
        raise InvalidArgument(
            f"{where} must be real numbers or booleans of at most 64 bits, got {array.dtype}"
        )
    return array


def _serialized(arrays: dict[str, NDArray[Any]], name: str) -> bytes:
    try:
        return safetensors.save(arrays)
    except SafetensorError as error:
        raise InvalidArgument(f"tensors of {name} cannot be written: {error}") from error
