"""Where data that is not bundled is found."""

from __future__ import annotations

import os
from pathlib import Path

from thalweg.errors import MissingData


def find_data_file(name: str, path: str | os.PathLike[str] | None, *, content: str, remedy: str) -> Path:
    """The file `path`, or the file called `name` in the folder `path` or in the folder THALWEG_DATA.

    `content` says what the file holds and `remedy` how a user gets it; both end up in the message of
    MissingData, which is raised when there is no such file.
    """
    if path is not None:
        place = Path(path) / name if Path(path).is_dir() else Path(path)
        looked = f"looked at {place}"
    elif folder := os.environ.get("THALWEG_DATA"):
        place = Path(folder) / name
        looked = f"looked at {place} (from the environment variable THALWEG_DATA)"
    else:
        place = None
        looked = "no path was given and the environment variable THALWEG_DATA is not set"
    if place is None or not place.is_file():
        raise MissingData(
            f"{name} ({content}) was not found: {looked}; "
            f"pass path=... or set THALWEG_DATA to the folder that holds it. {remedy}"
        )
    return place
