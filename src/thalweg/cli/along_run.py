"""What was measured along a training run, as a picture and as a table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import panels, save
from thalweg.numbers import number, with_error

if TYPE_CHECKING:
    from thalweg.surveys import Track

_PICTURE = "along-the-run.png"
_MOST_COLUMNS = 6


def folder_along(trajectory: Path | None, measuring: str) -> Path:
    """The run folder of what is measured along the checkpoints in `trajectory`: runs/RUN-MEASURING."""
    assert trajectory is not None, "there are checkpoints only with a trajectory"
    return Path("runs") / f"{trajectory.resolve().name}-{measuring}"


def tell(
    found: Track,
    title: str,
    limits: Mapping[str, dict[str, float]],
    json: bool,
    *,
    leave_out: Collection[str] = (),
) -> None:
    """Draw a panel for each quantity, with its `limits` by name, into the run folder, and print the numbers.

    leave_out: quantities that are neither drawn nor printed; the run and JSON have them.
    """
    followed = {name: values for name, values in found.followed.items() if name not in leave_out}
    picture = _draw(found, followed, title, limits)
    if json:
        print_json(asdict(found) | {"path": str(found.path), "picture": str(picture)})
        return
    quantities = dict(list(followed.items())[:_MOST_COLUMNS])
    print_table(
        ("", *quantities),
        [
            [name, *(_known(values[i], errors[i]) for values, errors in quantities.values())]
            for i, name in enumerate(found.names)
        ],
    )
    for name, measures in zip(found.names, found.measured, strict=True):
        for measure, one in measures.items():
            if "error" in one:
                print(f"{name}, {measure}: {one['error']}")
            for kind, part in one.get("numbers", {}).items():
                if isinstance(part, dict) and "failure" in part:
                    print(f"{name}, {kind}: {part['failure']}")
    print(f"\nRun: {found.path}\nPicture: {picture}")


def _known(value: float, error: float) -> str:
    """A value with its error; a lower bound where the error has no end."""
    if math.isinf(error):
        return f"≥ {number(value, 3)}"
    return number(value, 3) if not error or math.isnan(value) else with_error(value, error)


def _draw(
    found: Track,
    quantities: Mapping[str, tuple[list[float], list[float]]],
    title: str,
    limits: Mapping[str, dict[str, float]],
) -> Path:
    from thalweg import plots

    step = "epoch" if all(name.startswith("epoch") for name in found.names) else "checkpoint"
    file = found.path / _PICTURE
    with plots.paper():
        figure, axes = panels(max(1, len(quantities)), title, (4.2, 3.0))
        for ax, (name, (values, errors)) in zip(axes, quantities.items(), strict=False):
            plots.along_run(found.steps, values, errors, ax, label=name, step=step, limits=limits.get(name))
        save(figure, file)
    return file
