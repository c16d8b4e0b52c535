"""Code that draws the figures of a run again."""

from __future__ import annotations

from typing import Any


def code(data: dict[str, Any]) -> str:
    """Python that reads the run folder, draws its slices and writes its report, run from beside the folder."""
    name = data["run"]["name"]
    lines = [
        "import thalweg as tw",
        "",
        f"run = tw.store.Run.read({name!r})  # the folder that this report is of",
    ]
    for described in data["slices"]:
        # Readers run this: a name from a file that another program wrote must not become more than a name.
        if str(described["name"]).isidentifier():
            lines += _slice(described)
    lines.append(f"tw.report.write({name!r})  # this report")
    return "\n".join(lines)


def _slice(described: dict[str, Any]) -> list[str]:
    grid = described["name"]
    read = f"{grid} = tw.store.dataset(run, {grid!r})"
    if len(described.get("axes", {})) != 2:
        return [read, f"tw.plots.line_slice({grid}.alpha, {grid}.loss)"]
    path = f", path=run.result('slice.{grid}')['path']" if described.get("path") else ""
    return [
        read,
        f"tw.plots.contours({grid}.alpha, {grid}.beta, {grid}.loss{path}).figure.savefig('{grid}.pdf')",
    ]
