"""`thalweg export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.arguments import RunArgument


class Format(StrEnum):
    """Formats that a run can be exported to."""

    netcdf = "netcdf"
    csv = "csv"
    vtk = "vtk"


def export(
    run: RunArgument,
    format: Annotated[
        Format, typer.Option(help="netcdf or vtk (one file per slice), or csv (also series and numbers).")
    ] = Format.netcdf,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; RUN/export if not given.")] = None,
) -> None:
    """Write the slices and numbers of a run for other programs.

    Example: thalweg export runs/digits --format csv
    """
    from thalweg import store

    with store.Run.read(run) as opened:
        for file in store.export(opened, format.value, out or run / "export"):
            print(file)
