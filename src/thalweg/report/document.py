"""The report's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.report.data import collect
from thalweg.report.page import render
from thalweg.store import Run
from thalweg.store.atomic import replacing
from thalweg.store.faults import explain

if TYPE_CHECKING:
    import os


def write(run_path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of the run in the folder `run_path` to the file `out`, RUN/report.html by default.

    Returns the file's path. The same run gives the same bytes. Of a run that is not finished the report shows
    what is there and says what is missing.

    Raises MissingData if the folder holds no run, InvalidArgument if the file cannot be written.
    """
    with Run.read(run_path) as run:
        page = render(collect(run))
    path = Path(run_path) / "report.html" if out is None else Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise explain(error, path.parent) from error
    return path
