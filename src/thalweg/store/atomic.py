"""Files that are there whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A path beside `path` to write to; on leaving the block its content is on disk under `path`.

    If the block raises, `path` is as before and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The new name is durable only once its folder is.
        _flush(path.parent)


def remove_orphans(folder: Path) -> None:
    """Delete the temporary files that killed writers left in `folder`."""
    for orphan in folder.glob(f".*{_SUFFIX}"):
        orphan.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
