"""Code that makes the run, and each of its figures, again."""

from __future__ import annotations

from typing import Any


def code(data: dict[str, Any]) -> str:
    """Python that reads the run folder and draws its maps again."""
    name = data["run"]["name"]
    lines = [
        "import thalweg as tw",
        "",
        f"run = tw.store.Run.read({name!r})  # the folder that this report is of",
    ]
    for described in data["slices"]:
        variable, grid = "plane" if len(described["axes"]) == 2 else "line", described["name"]
        lines.append(f"{variable} = tw.store.dataset(run, {grid!r})")
        if variable == "line":
            lines.append("tw.plots.line_slice(line.alpha, line.loss)")
        else:
            path = f", path=run.result({f'slice.{grid}'!r})['path']" if described.get("path") else ""
            lines.append(
                f"tw.plots.contours(plane.alpha, plane.beta, plane.loss{path}).figure.savefig('{grid}.pdf')"
            )
    lines.append(f"tw.report.write({name!r})  # this report")
    return "\n".join(lines)
