"""The model or surface that a command measures, at the weights that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.cli.arguments import parameters
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from thalweg.surveys import Subject


def subject_named(
    target: str,
    assignments: list[str] | None,
    seed: int,
    checkpoint: Path | None = None,
    trajectory: Path | None = None,
) -> Subject:
    """What TARGET stands for, with its parameters from NAME=VALUE assignments; raises as `make_subject` does.

    Raises InvalidArgument where both a checkpoint and a trajectory are given.
    """
    from thalweg import surveys

    if checkpoint is not None and trajectory is not None:
        raise InvalidArgument("give --checkpoint, one point, or --trajectory, a run, not both")
    resolved = surveys.resolve(target, **parameters(assignments))
    return surveys.make_subject(resolved, seed=seed, checkpoint=checkpoint, trajectory=trajectory)


def whereabouts(subject: Subject, checkpoint: Path | None, seed: int) -> str:
    """ "checkpoint runs/a", "its initialization from seed 0", "its start"."""
    if subject.model is None:
        return "its start"
    untrained = subject.target.problem is not None and checkpoint is None
    return f"its initialization from seed {seed}" if untrained else subject.source
