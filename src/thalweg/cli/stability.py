"""`thalweg stability`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.along_run import folder_along, tell
from thalweg.cli.arguments import (
    BatchOption,
    CheckpointOption,
    DecayOption,
    JsonOption,
    MomentumOption,
    OptimizerOption,
    QuietOption,
    RateOption,
    SeedOption,
    SetOption,
    TargetArgument,
    ThreadsOption,
    TrajectoryOption,
    changed,
    use_threads,
)
from thalweg.cli.output import print_json, print_table
from thalweg.cli.progress import TerminalProgress
from thalweg.cli.start_up import optimizers_without_compiler
from thalweg.cli.subject import subject_named, whereabouts
from thalweg.errors import InvalidArgument
from thalweg.numbers import number, with_error

if TYPE_CHECKING:
    from thalweg.curvature import StableRate
    from thalweg.problems import Training
    from thalweg.surveys import Subject


def stability(
    target: TargetArgument,
    checkpoint: CheckpointOption = None,
    trajectory: TrajectoryOption = None,
    optimizer: OptimizerOption = None,
    lr: RateOption = None,
    momentum: MomentumOption = None,
    weight_decay: DecayOption = None,
    batch_size: BatchOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder along a --trajectory; runs/RUN-stability if not given."),
    ] = None,
    seed: SeedOption = 0,
    assignments: SetOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say at what learning rate the optimizer in use, and others, become unstable: 2/λmax and its kin.

    The optimizer and its rate are those of the run folder that is given, else the problem's own, unless they are named.
    At a run folder's last epoch Adam's and RMSProp's edges take the state that they had. Along a --trajectory it shows
    how near to the edge of stability training went.

    Examples:

        thalweg stability digits --trajectory runs/digits-training

        thalweg stability my_model.py:make --optimizer adamw --lr 3e-4
    """
    use_threads(threads)
    if out is not None and trajectory is None:
        raise InvalidArgument(f"--out is the run folder along a --trajectory, got {out} without one")
    from thalweg import surveys

    given = {
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
    }
    with optimizers_without_compiler(), TerminalProgress(quiet=quiet) as progress:
        subject = subject_named(target, assignments, seed, checkpoint, trajectory)
        training = _training(subject, trajectory or checkpoint, given)
        if subject.checkpoints is not None:
            if training is None:
                raise InvalidArgument(
                    "along a --trajectory stability is of an optimizer: give --optimizer and --lr"
                )
            folder = out or folder_along(trajectory, "stability")
            measures = ("eigenpairs", "stability")
            found = surveys.track(
                subject.objective,
                subject.checkpoints,
                folder,
                measures,
                k=2,
                seed=seed,
                training=training,
                progress=progress,
            )
            title = f"{target}, along {trajectory}"
            tell(found, title, surveys.limits_of(training), json, leave_out={"smallest eigenvalue"})
            return
        progress.stage("edges of stability")
        own = _own(
            subject, training, checkpoint, changed=any(v is not None for v in given.values()), seed=seed
        )
        others = surveys.kin(
            subject.objective, batch_size=None if training is None else training.batch_size, seed=seed
        )
    source = whereabouts(subject, checkpoint, seed)
    if json:
        rows = {"used": None if own is None else _numbers(own), "others": [_numbers(one) for one in others]}
        print_json({"target": target, "source": source} | rows)
        return
    print(f"{target}, {subject.objective.size:,} parameters, at {source}\n")
    if own is not None:
        print(f"{own.optimizer}: {own}\n")
    print_table(
        ("optimizer", "largest stable rate", "formula"),
        [(one.optimizer, with_error(one.rate, one.error), one.formula) for one in others],
    )
    print(f"\nλmax = {number(others[0].lambda_max, 4)}; for adam and rmsprop {others[-1].preconditioner}")
    if others[0].note:
        print(others[0].note)


def _training(subject: Subject, place: Path | None, given: Mapping[str, object]) -> Training | None:
    """How the subject is trained; None for one of which nothing is known or said."""
    from thalweg.problems import Training
    from thalweg.surveys import training_in

    problem = subject.target.problem
    own = training_in(place) or (None if problem is None else problem.training)
    if own is not None:
        return changed(own, **given)
    if given["lr"] is None:
        if given["optimizer"] is not None:
            raise InvalidArgument("--optimizer needs its rate: give --lr")
        return None
    return changed(Training(), **given)


def _own(
    subject: Subject, training: Training | None, checkpoint: Path | None, *, changed: bool, seed: int
) -> StableRate | None:
    """The edge of the optimizer in use, with its own state where a run folder has it."""
    from thalweg import surveys
    from thalweg.objective import Objective

    if training is None:
        return None
    trained = checkpoint is not None and surveys.training_in(checkpoint) is not None
    if trained and not changed and isinstance(subject.objective, Objective):
        return surveys.stability_in_run(subject.objective, training, Path(checkpoint or ""), seed=seed)
    return surveys.stability_of(subject.objective, training, seed=seed)


def _numbers(found: StableRate) -> dict[str, Any]:
    return asdict(found) | {"ratio": found.ratio}
