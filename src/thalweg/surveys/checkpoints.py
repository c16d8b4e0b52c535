"""The checkpoints of a training run in their order, read from disk one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.problems import Training
from thalweg.store import Run, checkpoint_files, load_checkpoint
from thalweg.surveys.training import epochs, weights


class Checkpoints:
    """State dictionaries by position, each read when it is asked for, so that one is in memory at a time.

    names: of the files, without suffix unless two differ in nothing else, or "epoch-0001" of a run folder.
    steps: what is plotted over: the last number in each name where these increase, positions from 0 otherwise.
    """

    def __init__(self, names: Collection[str], read: Callable[[str], dict[str, Tensor]]) -> None:
        self.names = tuple(names)
        self.steps = _steps(self.names)
        self._read = read

    @classmethod
    def of(cls, place: Path, own: Collection[str]) -> Checkpoints:
        """Those of a file, a folder of files, or a folder that was trained into; `own` are the model's names.

        Raises MissingData where nothing is there, InvalidArgument for a run that trained no model.
        """
        if (place / "run.sqlite").is_file():
            with Run.read(place) as run:
                found = epochs(run)
            if not found:
                raise InvalidArgument(f"{place} holds a run without weights: give one that trained a model")
            return cls(found, lambda name: _of_run(place, name))
        found = checkpoint_files(place) if place.is_dir() else [place]
        names = [file.stem for file in found]
        if len(set(names)) < len(names):
            names = [file.name for file in found]
        files = dict(zip(names, found, strict=True))
        return cls(names, lambda name: load_checkpoint(files[name], own))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return self._read(self.names[position])

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return map(self._read, self.names)


def point_of(objective: Objective, state: Mapping[str, Tensor], told: str) -> Tensor:
    """θ (n,) of a state dictionary; raises InvalidArgument that begins with `told` where it lacks parameters."""
    try:
        return objective.flatten(dict(state))
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace("checkpoint", told, 1)) from error


def check_fit(objective: Objective, state: Mapping[str, Tensor], told: str) -> None:
    """Raise InvalidArgument, beginning with `told`, unless a state dictionary is all of the model's and no more."""
    point_of(objective, state, told)
    named = objective.model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if name not in named:
            raise InvalidArgument(f"{told} holds {name}, which the model has not")
        if tensor.shape != named[name].shape:
            raise InvalidArgument(
                f"{told}: {name} has shape {tuple(tensor.shape)}, the model's has {tuple(named[name].shape)}"
            )
    held = {id(named[name]) for name in state}
    lacking = [
        name
        for name, value in named.items()
        if isinstance(value, Tensor) and id(value) not in held and not name.endswith("num_batches_tracked")
    ]
    if lacking:
        raise InvalidArgument(
            f"{told} lacks {', '.join(lacking[:4])}{', ...' if lacking[4:] else ''}: save model.state_dict(), "
            "with buffers and frozen parameters"
        )


def training_in(place: str | Path | None) -> Training | None:
    """How the model in a run folder was trained; None for anything else."""
    if place is None or not (Path(place) / "run.sqlite").is_file():
        return None
    with Run.read(place) as run:
        settings = run.settings.get("training")
    return None if settings is None else Training(**settings)


def _of_run(place: Path, name: str) -> dict[str, Tensor]:
    with Run.read(place) as run:
        return weights(run, name)


def _steps(names: tuple[str, ...]) -> tuple[int, ...]:
    numbers = [re.findall(r"\d+", name) for name in names]
    steps = [int(found[-1]) if found else -1 for found in numbers]
    rising = all(a < b for a, b in zip([-1, *steps], steps, strict=False))
    return tuple(steps) if rising else tuple(range(len(names)))
