"""Where a model or surface is measured, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.surveys import Subject


def whereabouts(subject: Subject, checkpoint: Path | None, seed: int) -> str:
    """ "checkpoint runs/a", "its initialization from seed 0", "its start"."""
    if subject.model is None:
        return "its start"
    untrained = subject.target.problem is not None and checkpoint is None
    return f"its initialization from seed {seed}" if untrained else subject.source
