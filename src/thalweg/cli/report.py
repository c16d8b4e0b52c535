"""`thalweg report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.arguments import RunArgument


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file; RUN/report.html if not given.")] = None,
) -> None:
    """Make the report of a run again, from its folder alone; a run that is not finished gives a partial one.

    Example: thalweg report runs/digits
    """
    from thalweg import report as reports

    print(f"Report: {reports.write(run, out)}")
