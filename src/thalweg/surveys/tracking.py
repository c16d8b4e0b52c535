"""Curvature along the checkpoints of a training run, kept measure by measure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, ThalwegError
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.identity import content
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surveys.checkpoints import Checkpoints
from thalweg.surveys.curvature import chosen, looking
from thalweg.surveys.survey import Progress

_VECTORS = "eigenvectors"


@dataclass(frozen=True)
class Track:
    """What was measured along a run.

    path: the run folder. steps, names: of the checkpoints.
    measured: for each checkpoint its measures by name, each with "numbers", "lines" and "followed", or with an "error".
    """

    path: Path
    steps: tuple[int, ...]
    names: tuple[str, ...]
    measured: list[dict[str, Any]]

    @property
    def followed(self) -> dict[str, tuple[list[float], list[float]]]:
        """Quantity to its values and errors, as many as `steps`, NaN where it could not be measured."""
        rows = [_followed(measures) for measures in self.measured]
        missing = (math.nan, math.nan)
        return {
            key: ([row.get(key, missing)[0] for row in rows], [row.get(key, missing)[1] for row in rows])
            for key in dict.fromkeys(key for row in rows for key in row)
        }


def track(
    objective: AbstractObjective,
    checkpoints: Checkpoints,
    out: Path,
    measures: Sequence[str] | None = None,
    *,
    k: int = 10,
    probes: int = 8,
    seed: int = 0,
    training: Training | None = None,
    progress: Progress | None = None,
) -> Track:
    """Measure at every checkpoint, with its buffers, and leave what is found in the run folder `out`.

    Each search for eigenpairs starts from those of the checkpoint before. The same call on the same folder goes on
    where one was interrupted, adds measures, and follows checkpoints that were added since; a checkpoint that changed
    is measured again. What cannot be measured at one, as where its loss is not finite, is told there, and the others
    are measured. The model gets its weights and buffers back.

    Raises
    ------
    InvalidArgument: an unknown measure, stability without `training`, or checkpoints that do not fit the model.
    RunConflict: `out` holds something else, or is being written.
    """
    names = chosen(objective, measures, training)
    if not isinstance(objective, Objective):
        raise InvalidArgument(f"checkpoints are of models, and {objective.name} has none")
    model = objective.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        # The fingerprint looks at buffers: of the first checkpoint, which is the same one when others were added.
        model.load_state_dict(checkpoints[0], strict=False)
        options: dict[str, Any] = {"k": k, "probes": probes, "seed": seed, "training": training}
        settings = options | {
            "objective": objective.fingerprint(),
            "training": None if training is None else asdict(training),
            "torch": str(torch.__version__),
        }
        with Run.open(out, kind="curvature", settings=settings) as run:
            tracking = _Tracking(run, objective, checkpoints, options)
            measured: list[dict[str, Any]] = []
            for position, state in enumerate(checkpoints):
                if progress is not None:
                    progress.stage(f"checkpoint {position + 1} of {len(checkpoints)}")
                measured.append(tracking.measures(position, state, names, progress))
    finally:
        model.load_state_dict(before)
    return Track(out, checkpoints.steps, checkpoints.names, measured)


@dataclass(frozen=True)
class _Tracking:
    run: Run
    objective: Objective
    checkpoints: Checkpoints
    options: dict[str, Any]

    def measures(
        self, position: int, state: Mapping[str, Tensor], names: Sequence[str], progress: Progress | None
    ) -> dict[str, Any]:
        """The measures called `names`, and those that were made before, at one checkpoint."""
        kept = self._kept(position, state)
        measures: dict[str, Any] = kept["measures"]
        missing = [name for name in names if name not in measures]
        if not missing:
            return measures
        self.objective.model.load_state_dict(state, strict=False)
        with looking(self.objective, start=self._vectors(position - 1), **self.options) as look:
            for done, name in enumerate(missing):
                try:
                    measures[name] = asdict(look.measure(name))
                except ThalwegError as error:
                    measures[name] = {"error": str(error)}
                if name == "eigenpairs" and look.pairs is not None:
                    held = {"vectors": look.pairs.vectors.contiguous(), "position": torch.tensor(position)}
                    self.run.put_tensors(_VECTORS, held)
                self.run.put_result(_key(position), kept)
                if progress is not None:
                    progress.advance(done + 1, len(missing))
        row = {key: value for key, (value, _) in _followed(measures).items()}
        errors = {f"{key}, error": error for key, (_, error) in _followed(measures).items()}
        self.run.put_row("curvature", self.checkpoints.steps[position], row | errors)
        # As another call reads it.
        return self._kept(position, state)["measures"]

    def _kept(self, position: int, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the run holds of a checkpoint with these weights."""
        digest = _digest(state)
        held: Any = self.run.result(_key(position))
        if held is not None and held["digest"] == digest:
            return held
        name, step = self.checkpoints.names[position], self.checkpoints.steps[position]
        return {"name": name, "step": step, "digest": digest, "measures": {}}

    def _vectors(self, position: int) -> Tensor | None:
        """Eigenvectors at a checkpoint, if they were the last to be kept."""
        held = self.run.tensors(_VECTORS)
        if held is None or int(held["position"]) != position:
            return None
        return torch.from_numpy(held["vectors"]).to(self.objective.point)


def _key(position: int) -> str:
    return f"checkpoint-{position:04d}"


def _followed(measures: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {key: tuple(pair) for one in measures.values() for key, pair in one.get("followed", {}).items()}


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode() + content(tensor))
    return digest.hexdigest()
