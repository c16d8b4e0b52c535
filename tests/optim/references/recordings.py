"""Reads what `record` wrote: points that the peers passed, and how each was set up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .problem import RECORDED_STEPS, Vector

SETTINGS = Path(__file__).with_name("recorded.json")
VECTORS = Path(__file__).with_name("recorded.npz")


@dataclass(frozen=True)
class Recording:
    """One rule of one peer: `points` and the full-data `losses` at them, by steps done; `note` says what is special."""

    name: str
    peer: str
    arguments: dict[str, Any]
    note: str
    points: dict[int, Vector]
    losses: dict[int, float]


@cache
def _settings() -> dict[str, Any]:
    return json.loads(SETTINGS.read_text(encoding="utf-8"))


@cache
def _vectors() -> dict[str, Vector]:
    with np.load(VECTORS) as file:
        return dict(file)


def names() -> list[str]:
    """The recorded rules."""
    return list(_settings()["rules"])


def recording(name: str) -> Recording:
    """One rule's recording by its name."""
    entry = _settings()["rules"][name]
    points = dict(zip(RECORDED_STEPS, _vectors()["points"][names().index(name)].copy(), strict=True))
    losses = dict(zip(RECORDED_STEPS, entry["losses"], strict=True))
    return Recording(name, entry["peer"], entry["arguments"], entry["note"], points, losses)


def sophia_estimates() -> Vector:
    """The diagonal estimates ĥ = u ⊙ Hu (30, 51) that both Sophia recordings were made with, one per 10 steps."""
    return _vectors()["sophia_estimates"].copy()


def sophia_signs() -> Vector:
    """The signs u (30, 51) behind `sophia_estimates`."""
    return _vectors()["sophia_signs"].astype(np.float64)
