"""`thalweg landscape`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    TrajectoryOption,
    command_line,
    use_threads,
)
from thalweg.cli.metrics import WORDS, metric_names
from thalweg.cli.output import print_json
from thalweg.cli.picture import panels, save
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named, whereabouts
from thalweg.errors import InvalidArgument, RunConflict

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from thalweg.landscape import Plane, Slice
    from thalweg.surveys import Subject
    from thalweg.surveys.landscape import LandscapeResult

PICTURE = "slice.png"

_PREVIEW_AFTER = 5.0
"""Seconds of work until there is a first picture of it, and the least between two."""


def landscape(
    target: TargetArgument,
    checkpoint: CheckpointOption = None,
    trajectory: TrajectoryOption = None,
    plane: Annotated[
        str | None,
        typer.Option(
            help="random, random-line, trajectory, trajectory-informed, eigen, gradient-eigen, gradient, or two or "
            "three checkpoints A,B,C; the trajectory's where one is given, a surface's own map, else random."
        ),
    ] = None,
    stack: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Slices along K random lines and their spread, in place of a plane.", min=2
        ),
    ] = None,
    normalization: Annotated[
        str, typer.Option(help="Of random directions: filter, layer, model or none.")
    ] = "filter",
    resolution: Annotated[int, typer.Option(help="Points along each axis.", min=3)] = 51,
    span: Annotated[float, typer.Option(help="Factor on the extent of the plane.")] = 1.0,
    rtol: Annotated[
        float, typer.Option(help="Relative error of the map; 0 evaluates every point.", min=0.0)
    ] = 0.01,
    metrics: Annotated[
        str,
        typer.Option(
            help="With commas between: loss, accuracy, gradient_norm, lambda_max, lambda_min, plane_lambda_max, "
            "plane_lambda_min; accuracy, lambda_max and lambda_min take every point."
        ),
    ] = "loss",
    also: Annotated[
        str | None,
        typer.Option(
            help="Metrics to take along at the points that --metrics take: beside the loss, accuracy costs nothing."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder; if not given runs/RUN-landscape, or -stack, after the checkpoint, the trajectory or the "
            "TARGET, with the plane, normalization, samples and seed that are named here."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Look at so many of the data only, drawn with --seed; all if not given.", min=1),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that evaluate points side by side, each with one thread.", min=1)
    ] = 1,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a slice of the landscape to a stated error, from as few evaluations as that takes, and say what it hides.

    Every point is kept as it is evaluated: the same command continues, also with another --resolution or --rtol.

    Examples:

        thalweg landscape digits --checkpoint runs/a

        thalweg landscape digits --trajectory runs/a --also accuracy

        thalweg landscape digits --checkpoint runs/a --stack 10
    """
    use_threads(threads)
    from thalweg import surveys
    from thalweg.cli.line_stack import show, stack_lines
    from thalweg.surveys.landscape import choose_plane, slice_landscape

    names = metric_names(metrics, "--metrics")
    along = [] if also is None else metric_names(also, "--also")
    folder = out or _folder(
        surveys.folder_name(target),
        checkpoint or trajectory,
        "landscape" if stack is None else "stack",
        plane=plane or (None if trajectory is None or stack else "trajectory"),
        normalization=normalization,
        samples=samples,
        seed=seed,
    )
    named = partial(subject_named, target, assignments, seed, checkpoint, trajectory)
    if stack is not None and along:
        raise InvalidArgument("--also is for a plane: give a stack's metrics as --metrics")
    if stack is not None:
        with _looking(named, samples, seed, folder, quiet=quiet) as (subject, progress):
            progress.stage("evaluating the slices")
            lines = stack_lines(
                subject,
                stack,
                folder,
                plane=plane,
                normalization=normalization,
                resolution=resolution,
                span=span,
                rtol=rtol,
                metrics=names,
                seed=seed,
                workers=workers,
                advance=progress.advance,
                command=command_line(),
            )
        source = whereabouts(subject, checkpoint or trajectory, seed)
        show(lines, target, source, folder, json=json)
        return
    with _looking(named, samples, seed, folder, quiet=quiet) as (subject, progress):
        progress.stage("choosing the plane")
        chosen = choose_plane(subject, plane, normalization=normalization, seed=seed)
        progress.stage("evaluating the slice")
        source = whereabouts(subject, checkpoint or trajectory, seed)
        picture = folder / PICTURE
        found = slice_landscape(
            subject,
            chosen,
            folder,
            resolution=resolution,
            span=span,
            rtol=rtol,
            metrics=names,
            also=along,
            seed=seed,
            workers=workers,
            advance=progress.advance,
            preview=_Preview(picture, target, plane, source, along, progress.say),
            command=command_line(),
        )
    relation, source = _place(found.slice.plane, plane, source)
    save(_figure(found.slice, f"{target} {relation} {source}", along), picture)
    dataset = folder / "slice.nc"
    found.slice.dataset.to_netcdf(dataset, engine="h5netcdf")
    told = _told(found)
    if json:
        print_json(
            {
                "target": target,
                "source": source,
                "kind": chosen.kind,
                "error": found.slice.error,
                "evaluations": found.slice.evaluations,
                "axes": {name: axis.tolist() for name, axis in found.slice.axes.items()},
                "values": {name: values.tolist() for name, values in found.slice.values.items()},
                "attributes": found.slice.attributes(),
                "caption": list(found.slice.caption),
                "honesty": list(found.slice.limits),
                "run": str(folder),
                "picture": str(picture),
                "dataset": str(dataset),
            }
        )
        return
    print(f"{target}, {subject.objective.size:,} parameters, {relation} {source}\n{told}\n")
    for sentence in (*found.slice.caption, *found.slice.limits):
        print(f"  • {sentence}")
    print(f"\nRun: {folder}\nPicture: {picture}\nData: {dataset}")


def _folder(
    target: str,
    weights: Path | None,
    drawing: str,
    *,
    plane: str | None,
    normalization: str,
    samples: int | None,
    seed: int,
) -> Path:
    """The run folder of what is looked at: another one for each slice that cannot continue the others.

    weights: the checkpoint or the trajectory, whose name takes the target's place.
    """
    from thalweg import surveys

    parts = [target if weights is None else _stem(weights), drawing]
    if plane is not None:
        parts += [_stem(Path(part.strip())) for part in plane.split(",")] if "," in plane else [plane]
    if normalization != "filter":
        parts.append(normalization)
    if samples is not None:
        parts.append(f"{samples}-samples")
    if seed:
        parts.append(f"seed{seed}")
    return Path("runs") / surveys.folder_name("-".join(parts))


def _stem(place: Path) -> str:
    """A folder's name, or a file's without its suffix, after that of the folder which it is in."""
    if place.is_dir():
        return place.resolve().name
    return place.stem if place.parent == Path() else f"{place.parent.resolve().name}-{place.stem}"


@contextmanager
def _looking(
    named: Callable[[], Subject], samples: int | None, seed: int, folder: Path, *, quiet: bool
) -> Generator[tuple[Subject, TerminalProgress]]:
    """The subject, or a sample of its data, while what is looked at goes into the run folder."""
    from thalweg.surveys.landscape import on_sample

    with (
        _conflict_by_option(folder),
        optimizers_without_compiler(),
        TerminalProgress(quiet=quiet) as progress,
    ):
        subject = named()
        yield subject if samples is None else on_sample(subject, samples, seed), progress


@contextmanager
def _conflict_by_option(folder: Path) -> Generator[None]:
    """A conflict about the slice in the run folder names the option that ends it."""
    try:
        yield
    except RunConflict as error:
        if "grid=" not in str(error):
            raise
        # The message is for a call from Python.
        raise RunConflict(
            f"{folder} holds points of another slice: choose another --out, or delete the folder"
        ) from error


def _told(found: LandscapeResult) -> str:
    points = 1
    for axis in found.slice.axes.values():
        points *= len(axis)
    error = f"to {100 * found.slice.error:.2g} %" if found.slice.error else "exactly"
    return f"{points:,} points, known {error} from {found.slice.evaluations:,} evaluations now"


class _Preview:
    """Draws a map that takes long while it is being made, and says so."""

    def __init__(
        self,
        picture: Path,
        target: str,
        plane: str | None,
        source: str,
        along: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self._picture, self._named, self._along, self._say = picture, (target, plane, source), along, say
        self._drawn = time.monotonic()

    def __call__(self, found: Slice) -> None:
        if time.monotonic() - self._drawn < _PREVIEW_AFTER:
            return
        target, plane, source = self._named
        relation, source = _place(found.plane, plane, source)
        save(_figure(found, f"{target} {relation} {source}, so far", self._along), self._picture)
        self._say(f"{found.caption[0]} A picture so far: {self._picture}")
        self._drawn = time.monotonic()


def _place(chosen: Plane, plane: str | None, source: str) -> tuple[str, str]:
    """What is looked at: "at" a source of weights, or "through" the checkpoints "A,B,C" of `plane`."""
    if chosen.kind != "through points" or plane is None:
        return "at", source
    *first, last = (f"{mark} = {name.strip()}" for mark, name in zip("ABC", plane.split(","), strict=False))
    return "through", f"{', '.join(first)} and {last}"


def _nearest(found: Slice, name: str) -> NDArray[np.float64]:
    """A metric that is known at the evaluated points only, at the others that of the nearest of them."""
    from scipy.ndimage import distance_transform_edt

    nearest: Any = distance_transform_edt(~found.evaluated, return_distances=False, return_indices=True)
    return found.values[name][tuple(nearest)]


def _figure(found: Slice, title: str, along: Sequence[str] = ()) -> Figure:
    """A panel for each metric; those `along` are known where the others were evaluated."""
    from thalweg import plots

    axes = list(found.axes.values())
    path, marks, labels = found.plane.path, None, found.plane.labels
    if found.plane.kind == "through points" and path is not None:
        path, marks = None, dict(zip("ABC", path.tolist(), strict=False))
        labels = ("from A to B", "from A to C")
    with plots.paper():
        figure, canvases = panels(len(found.values), title)
        for ax, (name, values) in zip(canvases, found.values.items(), strict=True):
            words = WORDS.get(name, name)
            if name in along:
                values, words = _nearest(found, name), f"{words}, of the nearest point evaluated"
            if len(axes) == 1:
                places = {mark: place[0] for mark, place in (marks or {}).items()}
                plots.line_slice(axes[0], values, None, ax, label=labels[0], name=words, marks=places)
                continue
            plots.contours(
                axes[0],
                axes[1],
                values,
                ax,
                name=words,
                labels=(labels[0], labels[1]),
                path=path,
                marks=marks,
                point=(found.plane.point[0], found.plane.point[1]),
                diverging="lambda" in name and bool((values < 0).any() and (values > 0).any()),
            )
        plots.caption(figure, [*found.caption, *found.limits])
    return figure
