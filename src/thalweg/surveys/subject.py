"""The objective under survey at the point that was reached, and the path that led there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.identity import content
from thalweg.problems import Training
from thalweg.store import Run
from thalweg.surfaces import Surface
from thalweg.surveys.checkpoints import Checkpoints, check_fit, point_of
from thalweg.surveys.descent import descend_to_minimum
from thalweg.surveys.optimizers import make_optimizer
from thalweg.surveys.target import Target
from thalweg.surveys.training import Advance, epochs, restore, train, weights


@dataclass
class Subject:
    """What is measured: `objective` at `theta` (n,), held-out data in `test`, and the `path` of points (n,) to it."""

    target: Target
    objective: AbstractObjective
    test: Objective | None
    metrics: tuple[str, ...]
    training: Training | None
    checkpoints: Checkpoints | None = None
    source: str = "the model's own point"
    theta: Tensor = field(default_factory=lambda: torch.empty(0))
    path: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def model(self) -> nn.Module | None:
        """The model behind the objective, None for a surface."""
        return self.objective.model if isinstance(self.objective, Objective) else None

    def identity(self) -> dict[str, Any]:
        """Settings that tell this subject from another: data, architecture, loss, starting weights, training."""
        start = hashlib.sha256(self.objective.point.cpu().double().numpy().tobytes())
        for state in self.checkpoints or ():
            for name, tensor in state.items():
                start.update(name.encode() + content(tensor))
        training = None if self.training is None else vars(self.training).copy()
        return {
            "target": self.target.name,
            "objective": self.objective.fingerprint(),
            "test": None if self.test is None else self.test.fingerprint(),
            "start": start.hexdigest(),
            # To six digits: tells changed code of the model, on which the digests do not look.
            "loss at start": f"{float(self.objective.loss()):.5e}",
            "training": training,
        }

    def arrive(self, run: Run, seed: int, advance: Advance | None = None) -> dict[str, Any]:
        """Train, descend or stay, and set `theta` and `path`; what is in `run` already is not done again."""
        if isinstance(self.objective, Surface):
            points, how = descend_to_minimum(self.objective)
            self.path, self.theta = list(points), points[-1]
            return how
        how: dict[str, Any] = {"source": self.source}
        if isinstance(self.objective, Objective):
            states = self.checkpoints or ()
            if self.training is not None and self.target.problem is not None:
                model, done = self.objective.model, run.result("training")
                if done is None:
                    how = train(self.target.problem, model, run, self.training, seed=seed, advance=advance)
                else:
                    how = done
                    restore(run, model)
                states = [weights(run, name) for name in epochs(run)]
            self.path = [self.objective.flatten(state) for state in states]
        self.theta = self.objective.point
        return how


def make_subject(
    target: Target,
    *,
    seed: int = 0,
    training: Training | None = None,
    checkpoint: str | Path | None = None,
    trajectory: str | Path | None = None,
) -> Subject:
    """Build the model and its objectives; with a `checkpoint`, at its weights.

    Parameters
    ----------
    checkpoint: a safetensors or weights-only file, or a folder that `thalweg train` wrote.
    trajectory: a folder of checkpoint files in natural order, or one that `thalweg train` wrote.

    Raises
    ------
    InvalidArgument: weights that do not fit (the names are given), weights for a surface, training settings
        where nothing is trained or that its optimizer does not take, or a loss at the point that is not finite.
    UnknownName: the training's optimizer is none.
    """
    if isinstance(target.objective, Surface):
        if checkpoint or trajectory:
            raise InvalidArgument(f"checkpoint and trajectory are for models; {target.name} is a surface")
        return Subject(target, target.objective, None, ("loss",), None)
    if training is not None and (target.problem is None or checkpoint or trajectory):
        raise InvalidArgument(
            f"training settings are for a problem that is trained here; {target.name} is measured "
            f"{'at the given weights' if checkpoint or trajectory else 'as it is'}"
        )
    metrics: tuple[str, ...]
    if target.problem is not None:
        model = target.problem.make_model(seed)
        objective = target.problem.train_objective(model)
        test = None if target.problem.test is None else target.problem.test_objective(model)
        metrics = target.problem.metrics
    else:
        assert target.objective is not None
        objective, test = target.objective, target.test
        metrics = _known_metrics(objective)
    subject = Subject(
        target, objective, test, metrics, training or (target.problem and target.problem.training)
    )
    if target.problem is None or checkpoint or trajectory:
        subject.training = None
    if subject.training is not None and isinstance(objective, Objective):
        # Settings that the optimizer does not take are found before anything is written.
        make_optimizer(subject.training, objective.model, objective)
    _load(subject, checkpoint, trajectory)
    if subject.training is None and not math.isfinite(loss := float(objective.loss())):
        raise InvalidArgument(
            f"the loss of {target.name} at {subject.source} is {loss}: nothing can be measured there"
        )
    return subject


def _load(subject: Subject, checkpoint: str | Path | None, trajectory: str | Path | None) -> None:
    if not checkpoint and not trajectory:
        return
    objective = subject.objective
    if not isinstance(objective, Objective):
        raise InvalidArgument(f"checkpoint and trajectory need a model, {subject.target.name} has none")
    if trajectory:
        subject.checkpoints = _checkpoints(trajectory, objective.model)
        for name, state in zip(subject.checkpoints.names, subject.checkpoints, strict=True):
            point_of(objective, state, f"checkpoint {name} of {trajectory}")
    of = _checkpoints(checkpoint, objective.model) if checkpoint else subject.checkpoints
    assert of is not None
    final = of[-1]
    check_fit(
        objective,
        final,
        f"checkpoint {checkpoint}" if checkpoint else f"checkpoint {of.names[-1]} of {trajectory}",
    )
    objective.model.load_state_dict(final, strict=False)
    subject.source = f"checkpoint {checkpoint or trajectory}"


def _checkpoints(place: str | Path, model: nn.Module) -> Checkpoints:
    return Checkpoints.of(Path(place), model.state_dict())


def _known_metrics(objective: AbstractObjective) -> tuple[str, ...]:
    """Loss, and accuracy where the outputs are class scores."""
    with objective.at() as here:
        try:
            here.values(("accuracy",))
        except InvalidArgument:
            return ("loss",)
    return ("loss", "accuracy")


def path_points(path: Sequence[Tensor], most: int = 200) -> list[Tensor]:
    """At most `most` points of the path, evenly spread and with its ends."""
    if len(path) <= most:
        return list(path)
    chosen = torch.linspace(0, len(path) - 1, most).round().long().unique().tolist()
    return [path[i] for i in chosen]
