"""Training a problem into a run folder of its own, as `thalweg train` does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys.provenance import introduce
from thalweg.surveys.subject import make_subject
from thalweg.surveys.survey import Progress, SurveyResult, folder_name
from thalweg.surveys.target import resolve


def train_into(
    target: object,
    out: str | Path | None = None,
    *,
    training: Training | None = None,
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> SurveyResult:
    """Train a problem and leave its learning curves and the weights after each epoch in the folder `out`.

    The folder can be given to a survey as checkpoint and trajectory. The same call continues an interrupted
    training and ends with the same weights. Raises InvalidArgument for a target that is no problem, RunConflict
    for a folder that holds something else.
    """
    found = resolve(target, **(parameters or {}))
    if found.problem is None:
        raise InvalidArgument(f"target {found.name!r} is a {found.kind}, only a problem can be trained")
    subject = make_subject(found, seed=seed, training=training)
    folder = Path(out) if out is not None else Path("runs") / f"{folder_name(found.name)}-training"
    identity = subject.identity() | {"seed": seed, "torch": str(torch.__version__)}
    with Run.open(folder, kind="train", settings=identity) as run:
        if progress is not None:
            progress.stage("training")
        introduce(run, subject, seed, command)
        begun = time.perf_counter()
        how = subject.arrive(run, seed, None if progress is None else progress.advance)
        if run.result("training") is None:
            run.put_result("training", how, time.perf_counter() - begun)
        quality: dict[str, Any] = {}
        for name, objective in (("train", subject.objective), ("test", subject.test)):
            if isinstance(objective, Objective):
                measured = objective.at(subject.theta).measure(subject.metrics)
                quality[name] = {key: asdict(value) for key, value in measured.items()}
        run.put_result("quality", quality)
        return SurveyResult(folder, run.results())
