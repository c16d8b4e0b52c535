"""A run folder and the one process that may write to it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from thalweg.errors import InvalidArgument, RunConflict, ThalwegError
from thalweg.store.database import FILE, Database
from thalweg.store.faults import explain

_LOCK = "run.lock"
_OWN = {_LOCK, FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal"}


def prepare(folder: Path) -> None:
    """Make `folder`, or accept it if it is empty or holds a run.

    Raises InvalidArgument if it is a file or cannot be made, RunConflict if it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument(f"{folder} is a file: a run needs a folder, choose another path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise explain(error, folder) from error
    others = sorted(names - _OWN)
    if others and FILE not in names:
        some = ", ".join([*others[:3], *(["..."] if len(others) > 3 else [])])
        raise RunConflict(f"{folder} holds other files ({some}) and no run: choose an empty or new folder")


def lock(folder: Path, timeout: float) -> FileLock:
    """The lock of `folder`, held; it is given back by `release()` or when the process ends, however it ends.

    Waits up to `timeout` seconds for another holder. Raises RunConflict, naming the holder, after that.
    """
    held = FileLock(folder / _LOCK)
    try:
        held.acquire(timeout=timeout, poll_interval=0.05)
    except Timeout:
        raise RunConflict(
            f"{folder} is in use by {_holder(folder)}: wait for it, stop it, or choose another folder"
        ) from None
    except OSError as error:
        raise explain(error, folder) from error
    return held


def _holder(folder: Path) -> str:
    try:
        database = Database(folder, readonly=True)
        try:
            holder = database.meta("holder")
        finally:
            database.close()
        return f"process {holder['pid']} on {holder['host']}"
    except (ThalwegError, TypeError, KeyError):
        return "another process"
