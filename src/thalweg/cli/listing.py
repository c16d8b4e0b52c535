"""`thalweg names`."""

from __future__ import annotations

from thalweg.cli.arguments import JsonOption
from thalweg.cli.output import print_json


def names(json: JsonOption = False) -> None:
    """List the problems and surfaces that can be a TARGET.

    Example: thalweg names --json
    """
    from thalweg import problems, surfaces

    found = {"problems": problems.names(), "surfaces": surfaces.names()}
    if json:
        print_json(found)
        return
    for kind, known in found.items():
        print(f"{kind}: {', '.join(known)}")
