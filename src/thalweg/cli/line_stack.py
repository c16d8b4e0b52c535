"""`thalweg landscape --stack`: slices along several random lines, and their spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from thalweg.cli.metrics import WORDS
from thalweg.cli.output import print_json, print_table
from thalweg.cli.picture import panels, save
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.landscape import Stack
    from thalweg.surveys import Subject

PICTURE = "stack.png"
_SHOWN = 5


def stack_lines(
    subject: Subject,
    k: int,
    folder: Path,
    *,
    plane: str | None,
    normalization: str,
    resolution: int,
    span: float,
    rtol: float,
    metrics: Sequence[str],
    seed: int,
    workers: int,
    advance: Callable[[int, int], None],
    command: str,
) -> Stack:
    """Evaluate the slices into the run folder; the same call continues, also with more lines.

    Raises InvalidArgument for another plane than a random line, and what `stack` raises.
    """
    from thalweg.checks import one_of
    from thalweg.landscape import Normalization, stack
    from thalweg.store import Run
    from thalweg.surfaces import Surface
    from thalweg.surveys.provenance import introduce

    if plane not in (None, "random-line"):
        raise InvalidArgument(f"--stack draws random lines: give --plane random-line or none, got {plane!r}")
    one_of("normalization", normalization, get_args(Normalization))
    objective = subject.objective
    # A surface has no filters.
    scaling: Any = "none" if isinstance(objective, Surface) else normalization
    settings = {
        "target": subject.target.name,
        "objective": objective.fingerprint(),
        "kind": "stack of random lines",
        "normalization": scaling,
        "seed": seed,
    }
    with Run.open(folder, kind="landscape", settings=settings) as run:
        introduce(run, subject, seed, command, anew=True)
        return stack(
            objective,
            k,
            scaling,
            seed,
            resolution=resolution,
            span=span,
            rtol=rtol,
            metrics=metrics,
            run=run,
            workers=workers,
            progress=advance,
        )


def show(found: Stack, target: str, source: str, folder: Path, *, json: bool) -> None:
    """Draw and export the stack, and print it: as tables, or as JSON."""
    picture, dataset = folder / PICTURE, folder / "stack.nc"
    save(_figure(found, f"{target} at {source}"), picture)
    found.dataset.to_netcdf(dataset, engine="h5netcdf")
    if json:
        print_json(
            {
                "target": target,
                "source": source,
                "kind": "stack of random lines",
                "error": found.error,
                "evaluations": found.evaluations,
                "axes": {"alpha": found.alpha.tolist()},
                "values": {name: values.tolist() for name, values in found.values.items()},
                "mean": {name: found.mean(name).tolist() for name in found.values},
                "std": {name: found.std(name).tolist() for name in found.values},
                "caption": list(found.caption),
                "limits": list(found.limits),
                "run": str(folder),
                "picture": str(picture),
                "dataset": str(dataset),
            }
        )
        return
    count, points = len(found.slices), len(found.alpha)
    error = f"to {100 * found.error:.2g} %" if found.error else "exactly"
    size = found.slices[0].plane.center.numel()
    print(f"{target}, {size:,} parameters, at {source}")
    print(
        f"{count} random lines of {points} points, known {error} from {found.evaluations:,} evaluations now"
    )
    at = [round(i * (points - 1) / (_SHOWN - 1)) for i in range(_SHOWN)]
    for name in found.values:
        mean, deviation = found.mean(name), found.std(name)
        low, middle, high = found.quantiles(metric=name)
        print()
        print_table(
            ("α", f"mean {name}", "deviation", "10 %", "median", "90 %"),
            [
                [f"{found.alpha[i]:g}", *(f"{row[i]:.4g}" for row in (mean, deviation, low, middle, high))]
                for i in at
            ],
        )
    print()
    for sentence in (*found.caption, *found.limits):
        print(f"  • {sentence}")
    print(f"\nRun: {folder}\nPicture: {picture}\nData: {dataset}")


def _figure(found: Stack, title: str) -> Figure:
    from thalweg import plots

    scaling = found.slices[0].plane.facts["normalization"]
    with plots.paper():
        figure, axes = panels(len(found.values), title)
        for ax, (name, values) in zip(axes, found.values.items(), strict=True):
            plots.line_stack(
                found.alpha,
                values,
                ax,
                name=WORDS.get(name, name),
                label=f"α, along random directions ({scaling}-normalized)",
            )
        plots.caption(figure, [*found.caption, *found.limits])
    return figure
