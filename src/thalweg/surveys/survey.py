"""The survey of a model or surface: reach the point, measure it, and leave everything in a run folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch

from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surfaces import Surface
from thalweg.surveys.settings import Settings
from thalweg.surveys.stages import STAGES, Survey
from thalweg.surveys.subject import Subject, make_subject
from thalweg.surveys.target import resolve
from thalweg.surveys.verdict import verdict


class Progress(Protocol):
    """Who is told how far a survey is."""

    def stage(self, label: str) -> None:
        """A stage begins."""
        ...

    def advance(self, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are done."""
        ...


@dataclass(frozen=True)
class SurveyResult:
    """A finished survey: its run folder and all its results by name (see docs/run-folder.md)."""

    path: Path
    results: dict[str, Any]

    @property
    def verdict(self) -> str:
        """The finding in one sentence."""
        return self.results["verdict"]["sentence"]


def survey(
    target: object,
    out: str | Path | None = None,
    *,
    settings: Settings | None = None,
    training: Training | None = None,
    checkpoint: str | Path | None = None,
    trajectory: str | Path | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> SurveyResult:
    """Survey an objective, a problem, a surface, or what a name or "file.py:factory" stands for.

    A problem is trained first, unless `checkpoint` gives its weights; everything else is measured where it is.
    The folder `out` (runs/NAME when None) receives every result as soon as it is there; the same call on a folder
    that was interrupted does the rest, and ends with the numbers of an unbroken run.

    Parameters
    ----------
    settings: how closely to look. training: how to train, the problem's own way when None.
    trajectory: a folder of checkpoints for the plane of the training path.
    command: what to name as the way to make this survey again.

    Raises
    ------
    RunConflict: `out` holds another survey or other files, or another process is writing it.
    InvalidArgument, UnknownName, MissingData, UnsafeFile: the target or its weights cannot be used.
    """
    settings = settings or Settings()
    subject = make_subject(
        resolve(target), seed=settings.seed, training=training, checkpoint=checkpoint, trajectory=trajectory
    )
    folder = Path(out) if out is not None else Path("runs") / _file_name(subject.target.name)
    identity = subject.identity() | asdict(settings) | {"torch": torch.__version__}
    with Run.open(folder, kind="survey", settings=identity) as run:
        _run(run, subject, settings, progress, command)
        return SurveyResult(folder, run.results())


def _run(
    run: Run, subject: Subject, settings: Settings, progress: Progress | None, command: str | None
) -> None:
    def begin(label: str) -> None:
        if progress is not None:
            progress.stage(label)

    def keep(name: str, compute: Callable[[], Any]) -> None:
        if name not in run.results():
            begun = time.perf_counter()
            value = compute()
            run.put_result(name, value, time.perf_counter() - begun)

    advance = None if progress is None else progress.advance
    keep("target", lambda: _describe(subject))
    keep("provenance", lambda: _provenance(run, subject, settings, command))
    begin("training" if subject.training else "going to the point")
    begun = time.perf_counter()
    how = subject.arrive(run, settings.seed, advance)
    if run.result("training") is None:
        run.put_result("training", how, time.perf_counter() - begun)
    work = Survey(subject, settings, run, advance)
    try:
        for name, (label, compute) in STAGES.items():
            if name not in run.results():
                begin(label)
            keep(name, lambda compute=compute: compute(work))
        keep("verdict", lambda: verdict(run.results()))
    finally:
        work.close()
    for note in subject.objective.notes if isinstance(subject.objective, Objective) else ():
        if note not in run.notes():
            run.note(note)


def _describe(subject: Subject) -> dict[str, Any]:
    target, objective = subject.target, subject.objective
    described: dict[str, Any] = {
        "name": target.name,
        "kind": target.kind,
        "description": target.problem.description if target.problem else "",
        "source": target.problem.source if target.problem else "",
        "parameters": objective.size,
        "blocks": [{"name": b.name, "shape": list(b.shape), "kind": b.kind} for b in objective.blocks],
        "samples": None,
        "test_samples": None if subject.test is None else subject.test.samples,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "device": str(objective.device),
        "batchnorm": None,
        "equation": None,
        "minima": [],
        "notes": [],
    }
    if isinstance(objective, Surface):
        minima = [point.location.tolist() for point in objective.minima[:64]]
        described |= {
            "description": objective.description,
            "source": objective.source,
            "equation": objective.equation,
            "minima": minima,
        }
    elif isinstance(objective, Objective):
        described |= {
            "samples": objective.samples,
            "batchnorm": objective.batchnorm,
            "notes": list(objective.notes),
        }
    return described


def _provenance(run: Run, subject: Subject, settings: Settings, command: str | None) -> dict[str, Any]:
    return {
        "command": command or f"thalweg.survey({subject.target.name!r}, out={str(run.path)!r})",
        "seed": settings.seed,
        "settings": asdict(settings),
        "versions": {"python": sys.version.split()[0]} | {name: _version(name) for name in ("thalweg", "torch", "numpy", "scipy")},
        "threads": torch.get_num_threads(),
        "data": f"sha256 {run.settings['objective'][:16]}…",
        "created": run.created,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _file_name(target: str) -> str:
    """A folder name for a target: the letters, digits and dashes of its last part."""
    last = target.replace(".py:", "-").rsplit("/", 1)[-1]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in last).strip(".-") or "survey"
