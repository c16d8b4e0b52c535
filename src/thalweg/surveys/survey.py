"""The survey of a model or surface: reach the point, measure it, and leave everything in a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys.provenance import describe, provenance
from thalweg.surveys.settings import Settings
from thalweg.surveys.stages import STAGES, Survey
from thalweg.surveys.subject import Subject, make_subject
from thalweg.surveys.target import Target, resolve
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
    """A finished survey: its run folder and all its results by name (see docs/run-folder.md).

    `was_finished` says that the folder held all of them already.
    """

    path: Path
    results: dict[str, Any]
    was_finished: bool = False

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
    parameters: Mapping[str, Any] | None = None,
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
    parameters: of a named problem or surface, such as {"condition_number": 1000}.
    command: what to name as the way to make this survey again.

    Raises
    ------
    RunConflict: `out` holds another survey or other files, or another process is writing it.
    InvalidArgument, UnknownName, MissingData, UnsafeFile: the target or its weights cannot be used.
    """
    settings = settings or Settings()
    found = resolve(target, **(parameters or {}))
    folder = Path(out) if out is not None else Path("runs") / folder_name(found.name)
    with _model_as_before(found):
        subject = make_subject(
            found, seed=settings.seed, training=training, checkpoint=checkpoint, trajectory=trajectory
        )
        identity = subject.identity() | asdict(settings) | {"torch": str(torch.__version__)}
        with Run.open(folder, kind="survey", settings=identity) as run:
            before = len(run.results())
            _run(run, subject, settings, progress, command)
            results = run.results()
            return SurveyResult(folder, results, before == len(results))


@contextmanager
def _model_as_before(target: Target) -> Generator[None]:
    """A model that is not built here gets the weights back that a checkpoint replaces."""
    model = target.objective.model if isinstance(target.objective, Objective) else None
    state = {} if model is None else model.state_dict()
    own = {name: t.detach().clone() for name, t in state.items() if isinstance(t, Tensor)}
    try:
        yield
    finally:
        if model is not None:
            now = model.state_dict()
            changed = {name: value for name, value in own.items() if not value.equal(now[name])}
            model.load_state_dict(changed, strict=False)


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
            _keep_notes(run, subject)
            run.put_result(name, value, time.perf_counter() - begun)

    advance = None if progress is None else progress.advance
    keep("target", lambda: describe(subject))
    keep(
        "provenance",
        lambda: provenance(run, subject, settings.seed, command) | {"settings": asdict(settings)},
    )
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


def _keep_notes(run: Run, subject: Subject) -> None:
    """What the objective noticed goes into the run before the result that it concerns."""
    for note in subject.objective.notes if isinstance(subject.objective, Objective) else ():
        if note not in run.notes():
            run.note(note)


def folder_name(target: str) -> str:
    """A folder name for a target: the letters, digits and dashes of its last part."""
    last = target.replace(".py:", "-").rsplit("/", 1)[-1]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in last).strip(".-") or "survey"
