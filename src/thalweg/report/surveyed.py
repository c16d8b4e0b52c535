"""A survey together with its report."""

from __future__ import annotations

from typing import Any

from thalweg import surveys
from thalweg.report.document import write


def survey(target: object, out: Any = None, **options: Any) -> surveys.SurveyResult:
    """Survey `target` into the run folder `out` and write its report there, as `report.html`.

    Takes and raises what `thalweg.surveys.survey` does. A report is written when something was measured, or when
    there is none.
    """
    found = surveys.survey(target, out, **options)
    page = found.path / "report.html"
    if not (found.was_finished and page.is_file()):
        if (progress := options.get("progress")) is not None:
            progress.stage("report")
        write(found.path, page)
    return found
