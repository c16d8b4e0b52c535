"""One slice of a target's landscape, kept point by point in a run folder with what it hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from thalweg.checks import one_of
from thalweg.errors import InvalidArgument, ThalwegError
from thalweg.landscape import (
    Normalization,
    Plane,
    Slice,
    axis_plane,
    eigen_plane,
    evaluate,
    gradient_plane,
    line_through,
    plane_through,
    random_plane,
    trajectory_informed_plane,
    trajectory_plane,
)
from thalweg.landscape.honesty import Honesty, honesty
from thalweg.landscape.slices import describe
from thalweg.objective import Objective
from thalweg.store import Run
from thalweg.surfaces import Surface
from thalweg.surveys.checkpoints import Checkpoints, point_of
from thalweg.surveys.provenance import introduce
from thalweg.surveys.subject import Subject

PLANES = ("random", "random-line", "trajectory", "trajectory-informed", "eigen", "gradient-eigen", "gradient")
GRID = "slice"


@dataclass(frozen=True)
class LandscapeResult:
    """A slice, what it hides, and the run folder that holds both; None where that could not be measured."""

    path: Path
    slice: Slice
    honesty: Honesty | None


class _OnDisk:
    """A run's checkpoints as points (n,), read as they are asked for."""

    def __init__(self, objective: Objective, checkpoints: Checkpoints) -> None:
        self.objective = objective
        self.checkpoints = checkpoints

    def __len__(self) -> int:
        return len(self.checkpoints)

    def __getitem__(self, position: int) -> Tensor:
        return self.objective.flatten(self.checkpoints[position])


def on_sample(subject: Subject, samples: int, seed: int) -> Subject:
    """The subject on so many of its data, drawn with `seed`; InvalidArgument for a surface or more than there are."""
    objective = subject.objective
    if not isinstance(objective, Objective):
        raise InvalidArgument(f"samples is for a model on data: {subject.target.name} has none")
    return replace(subject, objective=objective.sample(samples, seed))


def choose_plane(
    subject: Subject,
    choice: str | None = None,
    *,
    normalization: str = "filter",
    seed: int = 0,
) -> Plane:
    """The plane or line called `choice`, through the subject's point where it is not given by other points.

    "random" or "random-line"; "trajectory" or "trajectory-informed", of the subject's checkpoints; "eigen", the two
    stiffest directions, or "gradient-eigen", those along which the gradients of single samples are largest; "gradient",
    the gradient and the stiffest direction across it; or two or three checkpoint files with commas between. None is
    the trajectory where there is one, of a surface its map, else random.

    Raises InvalidArgument for anything else, or where there is nothing to make it of.
    """
    objective, checkpoints = subject.objective, subject.checkpoints
    if choice is None:
        if isinstance(objective, Surface) and objective.size > 1:
            return axis_plane(objective, domain=objective.domain)
        choice = "random" if checkpoints is None else "trajectory"
    if "," in choice:
        return _through(subject, [Path(name.strip()) for name in choice.split(",") if name.strip()])
    one_of("plane", choice, (*PLANES, "A,B", "A,B,C"))
    if choice.startswith("trajectory"):
        if checkpoints is None or not isinstance(objective, Objective):
            raise InvalidArgument(f"plane {choice!r} needs the checkpoints of a run: give --trajectory")
        path = _OnDisk(objective, checkpoints)
        informed = choice == "trajectory-informed"
        return trajectory_informed_plane(objective, path) if informed else trajectory_plane(objective, path)
    if choice == "eigen":
        return eigen_plane(objective, seed=seed)
    if choice == "gradient-eigen":
        return eigen_plane(objective, "gradient_covariance", seed=seed)
    if choice == "gradient":
        return gradient_plane(objective, seed=seed)
    one_of("normalization", normalization, get_args(Normalization))
    # A surface has no filters.
    scaling: Any = "none" if isinstance(objective, Surface) else normalization
    return random_plane(objective, scaling, seed, dim=1 if choice == "random-line" else 2)


def slice_landscape(
    subject: Subject,
    plane: Plane,
    out: Path,
    *,
    resolution: int = 51,
    span: float = 1.0,
    rtol: float | None = 0.01,
    metrics: Sequence[str] = ("loss",),
    also: Sequence[str] = (),
    seed: int = 0,
    workers: int = 1,
    advance: Callable[[int, int], None] | None = None,
    preview: Callable[[Slice], None] | None = None,
    command: str | None = None,
) -> LandscapeResult:
    """Evaluate the slice into the run folder `out`; the same call continues, also with other resolution or rtol.

    preview: as `evaluate` has it. command: what to name as the way to make the run again.
    Raises RunConflict where `out` holds another plane's or sample's points, and what `evaluate` raises.
    """
    objective = subject.objective
    kind = plane.kind if plane.directions.shape[1] == 2 else f"{plane.kind}, a line"
    settings = {"target": subject.target.name, "objective": objective.fingerprint(), "kind": kind}
    with Run.open(out, kind="landscape", settings=settings) as run:
        introduce(run, subject, seed, command or f"thalweg landscape {subject.target.name}", anew=True)
        found = evaluate(
            objective,
            plane,
            resolution,
            span,
            rtol,
            metrics,
            also=also,
            run=run,
            grid=GRID,
            workers=workers,
            progress=advance,
            preview=preview,
        )
        try:
            hidden = honesty(objective, plane, seed=seed)
        except ThalwegError as error:
            # A map that is there is worth more than what would stand below it.
            hidden = None
            told = f"what the plane hides could not be measured: {error}"
            found = replace(found, note="; ".join([*([found.note] if found.note else []), told]))
        else:
            found = replace(found, known=hidden)
            run.put_result("honesty", {"sentences": list(hidden.sentences)} | _numbers(hidden))
        describe(run, GRID, found)
        run.put_tensors("plane", {"center": plane.center, "directions": plane.directions.contiguous()})
    return LandscapeResult(out, found, hidden)


def _through(subject: Subject, files: Sequence[Path]) -> Plane:
    objective = subject.objective
    if not isinstance(objective, Objective) or len(files) not in (2, 3):
        raise InvalidArgument(f"plane takes two or three checkpoints of a model, got {len(files)}")
    own = objective.model.state_dict()
    points = [point_of(objective, Checkpoints.of(file, own)[-1], f"checkpoint {file}") for file in files]
    return line_through(*points) if len(points) == 2 else plane_through(*points)


def _numbers(hidden: Honesty) -> dict[str, Any]:
    return {
        key: value.tolist() if isinstance(value, torch.Tensor) else value
        for key, value in asdict(hidden).items()
    }
