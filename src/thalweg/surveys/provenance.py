"""What was looked at and how to do it again, for a run folder."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from thalweg.objective import Objective
from thalweg.store import Run
from thalweg.surfaces import Surface
from thalweg.surveys.subject import Subject


def introduce(run: Run, subject: Subject, seed: int, command: str | None, *, anew: bool = False) -> None:
    """Leave "target" and "provenance" in a run that has none yet, or `anew` where this call replaces what it holds."""
    if anew or run.result("provenance") is None:
        run.put_result("target", describe(subject))
        run.put_result("provenance", provenance(run, subject, seed, command))


def describe(subject: Subject) -> dict[str, Any]:
    """The result "target": what was looked at."""
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


def provenance(run: Run, subject: Subject, seed: int, command: str | None) -> dict[str, Any]:
    """The result "provenance": how to make the run again."""
    return {
        "command": command or f"thalweg.survey({subject.target.name!r}, out={str(run.path)!r})",
        "seed": seed,
        "versions": {"python": sys.version.split()[0]}
        | {name: _version(name) for name in ("thalweg", "torch", "numpy", "scipy")},
        "threads": torch.get_num_threads(),
        "objective": f"sha256 {run.settings['objective'][:16]}…",
        "created": run.created,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
