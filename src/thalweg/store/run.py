"""A run: a folder that holds what was computed, row by row as it was computed."""

from __future__ import annotations

import math
import operator
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from thalweg.errors import InvalidArgument, MissingData, ThalwegError
from thalweg.store.confinement import checked_name
from thalweg.store.conflict import refuse_another
from thalweg.store.database import FILE, Database
from thalweg.store.encoding import JSON, encode, encode_numbers
from thalweg.store.ownership import lock, prepare
from thalweg.store.tensors import TensorFiles


class Run:
    """Results, grid points, series, tensors and notes in one folder; made by `Run.open` or `Run.read`.

    What a `put` returned from is committed: it survives a kill of the process. Names consist of letters,
    digits, '.', '_' and '-' and do not start with '.'; every method raises InvalidArgument for others. Every
    method raises ThalwegError if the disk is full or the database damaged, and the run stays whole.

    Attributes: `path`, the folder; `kind`, what computed it ("survey"); `settings`, of which the results are
    a function; `created`, ISO 8601 in UTC; `resumed`, whether `open` found the run already there.
    """

    def __init__(self, database: Database, resources: ExitStack, *, resumed: bool) -> None:
        self.path: Path = database.folder
        self.kind: str = database.meta("kind")
        self.settings: dict[str, JSON] = database.meta("settings")
        self.created: str = database.meta("created")
        self.resumed = resumed
        self._database = database
        self._resources = resources
        self._tensors = TensorFiles(database)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, kind: str, settings: Mapping[str, JSON], timeout: float = 0.0
    ) -> Self:
        """Create a run in the folder `path`, or continue the one that is there, as its only writer.

        `timeout` is how many seconds to wait for another writer. Raises RunConflict if the folder belongs to
        a run of another kind or other settings, to another process, or to other files; InvalidArgument if it
        cannot be written.
        """
        folder = Path(path)
        meta = {
            "kind": encode(kind, "kind"),
            "settings": encode(settings, "settings"),
            "created": encode(_now(), "created"),
        }
        prepare(folder)
        with ExitStack() as resources:
            resources.callback(lock(folder, timeout).release)
            database = Database(folder, readonly=False)
            resources.callback(database.close)
            resumed = database.holds_run()
            if resumed:
                refuse_another(database, kind, database.decode(meta["settings"]))
            else:
                database.create(meta)
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            database.put_meta("holder", encode(holder, "holder"))
            run = cls(database, resources, resumed=resumed)
            run._tensors.remove_orphans()
            run._resources = resources.pop_all()
        _opened.add(folder.absolute())
        return run

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Open the run in the folder `path` for reading, also while another process writes it.

        Raises MissingData if there is no run.
        """
        folder = Path(path)
        if not (folder / FILE).is_file():
            raise MissingData(f"{folder} holds no run: {FILE} was not found there")
        with ExitStack() as resources:
            database = Database(folder, readonly=True)
            resources.callback(database.close)
            if not database.holds_run():
                raise MissingData(f"{folder} holds no run: its creation was interrupted")
            return cls(database, resources.pop_all(), resumed=False)

    def put_result(self, name: str, value: JSON, seconds: float = 0.0) -> None:
        """Store a JSON value (NumPy scalars and arrays are converted) that took `seconds` to compute."""
        if not math.isfinite(seconds):
            raise InvalidArgument(f"seconds must be finite, got {seconds}")
        self._database.execute(
            "INSERT INTO results VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value, seconds = excluded.seconds",
            checked_name(name),
            encode(value, name),
            float(seconds),
        )

    def result(self, name: str) -> JSON:
        """The value stored as `name`, or None."""
        rows = self._database.execute("SELECT value FROM results WHERE name = ?", name)
        return self._database.decode(rows[0][0]) if rows else None

    def results(self) -> dict[str, JSON]:
        """All results, in the order in which they were first stored."""
        rows = self._database.execute("SELECT name, value FROM results ORDER BY rowid")
        return {name: self._database.decode(value) for name, value in rows}

    def seconds(self) -> dict[str, float]:
        """How long each result took to compute."""
        rows = self._database.execute("SELECT name, seconds FROM results ORDER BY rowid")
        return {name: float(seconds) for name, seconds in rows}

    def put_point(self, grid: str, index: tuple[int, ...], values: Mapping[str, float]) -> None:
        """Store the values at one point of a grid; `index` counts from 0 along each axis."""
        self.put_points(grid, {index: values})

    def put_points(self, grid: str, points: Mapping[tuple[int, ...], Mapping[str, float]]) -> None:
        """Store the values at several points of a grid, all of them or none."""
        checked_name(grid, "grid")
        rows = [
            (grid, encode(_position(index), "index"), encode_numbers(v, grid)) for index, v in points.items()
        ]
        self._database.execute_many(
            "INSERT INTO points VALUES (?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET numbers = excluded.numbers, evaluations = evaluations + 1",
            rows,
        )

    def drop_points(self, grid: str) -> None:
        """Forget every point of a grid; what it was claimed for stays."""
        self._database.execute("DELETE FROM points WHERE grid = ?", checked_name(grid, "grid"))

    def claim_grid(self, grid: str, claim: JSON) -> JSON:
        """What `grid` was first claimed for, which is `claim` itself at the first call."""
        key = f"grid {checked_name(grid, 'grid')}"
        if self._database.meta(key) is None:
            self._database.put_meta(key, encode(claim, "claim"))
        return self._database.meta(key)

    def describe_grid(self, grid: str, description: Mapping[str, JSON]) -> None:
        """Say what a grid is, in place of what was said: {"axes": {name: coordinates}, "metrics": [...], ...}."""
        key = f"description {checked_name(grid, 'grid')}"
        self._database.put_meta(key, encode(description, "description"))

    def grid_description(self, grid: str) -> dict[str, JSON]:
        """What `describe_grid` said, empty where it said nothing."""
        return self._database.meta(f"description {checked_name(grid, 'grid')}") or {}

    def points(self, grid: str) -> dict[tuple[int, ...], dict[str, float]]:
        """Index to values of every stored point of `grid`, in the order of the indices."""
        rows = self._database.execute("SELECT position, numbers FROM points WHERE grid = ?", grid)
        decode = self._database.decode
        return dict(sorted((tuple(decode(position)), decode(numbers)) for position, numbers in rows))

    def grids(self) -> list[str]:
        """The names of the grids that have points."""
        return [name for (name,) in self._database.execute("SELECT DISTINCT grid FROM points ORDER BY grid")]

    def evaluations(self, grid: str) -> int:
        """How often `put_point` was ever called for `grid`, repeated points included."""
        return self._database.execute(
            "SELECT coalesce(sum(evaluations), 0) FROM points WHERE grid = ?", grid
        )[0][0]

    def put_row(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Store the values of a series at `step`, in place of any that were there."""
        if "step" in values:
            raise InvalidArgument("values must not have the key 'step': it is the row's own")
        self._database.execute(
            "INSERT OR REPLACE INTO series VALUES (?, ?, ?)",
            checked_name(series, "series"),
            operator.index(step),
            encode_numbers(values, series),
        )

    def series(self, name: str) -> list[dict[str, float]]:
        """The rows of a series, each with its "step", in the order of the steps."""
        rows = self._database.execute("SELECT step, numbers FROM series WHERE name = ? ORDER BY step", name)
        return [{"step": step, **self._database.decode(numbers)} for step, numbers in rows]

    def series_names(self) -> list[str]:
        """The names of the series that have rows."""
        return [name for (name,) in self._database.execute("SELECT DISTINCT name FROM series ORDER BY name")]

    def put_tensors(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Store named arrays of any shape (NumPy arrays or torch tensors; bfloat16 becomes float32)."""
        self._tensors.put(name, tensors)

    def tensors(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays stored as `name`, or None.

        Raises UnsafeFile if their file was changed since or leads out of the run folder.
        """
        return self._tensors.get(name)

    def tensor_names(self) -> list[str]:
        """The names under which arrays are stored."""
        return self._tensors.names()

    def note(self, text: str) -> None:
        """Add a line to the run's log, with the time kept beside it."""
        self._database.execute("INSERT INTO notes VALUES (?, ?)", _now(), encode(text, "text"))

    def notes(self) -> list[str]:
        """The lines of the run's log, oldest first."""
        return [self._database.decode(text) for (text,) in self._database.execute("SELECT text FROM notes")]

    def close(self) -> None:
        """Let the next writer in; a second call does nothing."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_opened: set[Path] = set()
"""Run folders that this process wrote, or came to write."""


def holding() -> list[Path]:
    """The run folders opened for writing by this process that hold anything computed, sorted."""
    return [folder for folder in sorted(_opened) if _holds_anything(folder)]


def _holds_anything(folder: Path) -> bool:
    try:
        with Run.read(folder) as run:
            names = (run.results(), run.grids(), run.series_names(), run.tensor_names())
            return any(map(bool, names))
    # A folder that was deleted or cannot be read keeps nothing.
    except ThalwegError:
        return False


def _position(index: tuple[int, ...]) -> list[int]:
    position = [operator.index(i) for i in index]
    if not position or min(position) < 0:
        raise InvalidArgument(f"index must hold one non-negative integer per axis, got {index}")
    return position


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
