"""What went wrong on disk, in one clear line."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from thalweg.errors import InvalidArgument, ThalwegError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError | sqlite3.Error) -> bool:
    """Whether the disk, or the user's share of it, had no room left."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return _code(error) == sqlite3.SQLITE_FULL


def explain(error: OSError | sqlite3.Error, folder: Path, kept: int | None = None) -> ThalwegError:
    """The error to raise for `error`, met at work in `folder`; `kept` counts the points that are safe."""
    if is_full(error):
        safe = "" if kept is None else f"; {kept} points are kept"
        return ThalwegError(
            f"the disk holding {folder} is full: free space and run the same command again{safe}"
        )
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        return InvalidArgument(f"{folder} cannot be used: {reason}")
    match _code(error):
        case sqlite3.SQLITE_READONLY:
            return InvalidArgument(f"{folder} is open for reading only, or its files cannot be written")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return InvalidArgument(
                f"{folder}/run.sqlite cannot be opened: check the permissions of the folder"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ThalwegError(f"{folder}/run.sqlite is locked by another program: close it and try again")
        case None:
            return ThalwegError(f"{folder} cannot be used: {error}")
        case _:
            return ThalwegError(f"{folder}/run.sqlite cannot be read, it may be damaged: {error}")


def _code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code, the rest says where it happened.
    return None if code is None else code & 0xFF
