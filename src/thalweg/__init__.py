"""Thalweg: see, measure and descend the loss landscape of your own PyTorch model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg import (
        clipping,
        comparison,
        curvature,
        initialization,
        landscape,
        optim,
        plots,
        problems,
        report,
        schedules,
        store,
        surfaces,
    )
    from thalweg.comparison import compare, range_test
    from thalweg.errors import ThalwegError
    from thalweg.objective import Objective
    from thalweg.problems import Problem, Training
    from thalweg.report.surveyed import survey
    from thalweg.surveys import Settings

__version__ = "0.1.0"

__all__ = [
    "Objective",
    "Problem",
    "Settings",
    "ThalwegError",
    "Training",
    "__version__",
    "clipping",
    "compare",
    "comparison",
    "curvature",
    "initialization",
    "landscape",
    "optim",
    "plots",
    "problems",
    "range_test",
    "report",
    "schedules",
    "store",
    "surfaces",
    "survey",
]

_HOMES = {
    "Objective": "thalweg.objective",
    "Problem": "thalweg.problems",
    "Settings": "thalweg.surveys",
    "Training": "thalweg.problems",
    "ThalwegError": "thalweg.errors",
    "compare": "thalweg.comparison",
    "range_test": "thalweg.comparison",
    "survey": "thalweg.report.surveyed",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `import thalweg` and `thalweg --help` do not pay for importing torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"thalweg.{name}")
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
