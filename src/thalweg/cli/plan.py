"""What a command would do, for `--plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thalweg.cli.output import print_json, print_table

if TYPE_CHECKING:
    from thalweg.surveys import Plan


def print_plan(plan: Plan, json: bool) -> None:
    """Print the stages with their evaluations and seconds, and the whole."""
    if json:
        from dataclasses import asdict

        print_json(asdict(plan))
        return
    rows = [
        (stage.name, f"{stage.count:,}", stage.unit, f"{stage.seconds:.2f}")
        for stage in plan.stages
        if stage.count
    ]
    print_table(("stage", "evaluations", "of", "seconds"), rows)
    print(
        f"About {plan.seconds:.0f} s and {plan.memory / 2**20:.0f} MiB, besides drawing. Nothing was written."
    )
