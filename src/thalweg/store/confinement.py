"""Names and paths that cannot lead out of the run folder."""

from __future__ import annotations

import re
from pathlib import Path

from thalweg.errors import InvalidArgument, UnsafeFile

# 200 leaves room for the affixes of temporary files below the 255 bytes that file systems allow.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def checked_name(name: str, what: str = "name") -> str:
    """`name` itself, if it can safely become part of a file name.

    Raises InvalidArgument otherwise; `what` says in the message which argument it was.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what} must be 1 to 200 letters, digits, '.', '_' or '-', not starting with '.'; got {name!r}"
        )
    return name


def inside(folder: Path, path: Path) -> Path:
    """`path` itself, if following its symbolic links does not leave `folder`.

    Raises UnsafeFile otherwise.
    """
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UnsafeFile(
            f"{path} leads out of the run folder to {target}, so it was refused: delete the link"
        )
    return path
