"""Where data that is not bundled is found."""

from __future__ import annotations

import os
from pathlib import Path

from thalweg.errors import MissingData


def find_data_file(name: str, path: str | os.PathLike[str] | None, *, content: str, remedy: str) -> Path:
    """The file or folder called `name`: at `path`, in the folder `path`, or in the folder THALWEG_DATA.

    `content` says what the file holds and `remedy` how a user gets it; both end up in the message of
    MissingData, which is raised when nothing is there.
    """
    if path is not None:
        places = [Path(path) / name, Path(path)] if Path(path).is_dir() else [Path(path)]
        looked = f"looked at {path}"
    elif folder := os.environ.get("THALWEG_DATA"):
        places = [Path(folder) / name]
        looked = f"looked at {places[0]} (from the environment variable THALWEG_DATA)"
    else:
        places = []
        looked = "no path was given and the environment variable THALWEG_DATA is not set"
    for place in places:
        if place.exists():
            return place
    raise MissingData(
        f"{name} ({content}) was not found: {looked}; "
        f"pass path=... or set THALWEG_DATA to the folder that holds it. {remedy}"
    )
