"""The SQLite file of a run: its schema, its versions, and statements whose failures are explained."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.errors import RunConflict, ThalwegError
from thalweg.store.confinement import inside
from thalweg.store.encoding import JSON
from thalweg.store.faults import explain

FILE = "run.sqlite"
SCHEMA_VERSION = 1
_APPLICATION_ID = 0x5468616C  # "Thal"

_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE results (name TEXT PRIMARY KEY, value TEXT NOT NULL, seconds REAL NOT NULL)",
    "CREATE TABLE points (grid TEXT, position TEXT, numbers TEXT NOT NULL, evaluations INTEGER NOT NULL,"
    " PRIMARY KEY (grid, position)) WITHOUT ROWID",
    "CREATE TABLE series (name TEXT, step INTEGER, numbers TEXT NOT NULL,"
    " PRIMARY KEY (name, step)) WITHOUT ROWID",
    "CREATE TABLE tensors (name TEXT, sha256 TEXT, PRIMARY KEY (name, sha256)) WITHOUT ROWID",
    "CREATE TABLE notes (time TEXT NOT NULL, text TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Database:
    """A connection to the SQLite file in `folder`.

    Every statement is a transaction of its own, so that what returned is committed. The connection may be
    shared by threads: SQLite serializes their statements.
    """

    def __init__(self, folder: Path, *, readonly: bool) -> None:
        self.folder = folder
        # One connection serves all threads: no statement may fall into another thread's transaction.
        self._lock = threading.RLock()
        file = inside(folder, folder / FILE)
        try:
            self._connection = _reader(file) if readonly else _writer(file)
        except sqlite3.Error as error:
            raise explain(error, folder) from error

    def execute(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        try:
            with self._lock:
                return self._connection.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise self.explain(error) from error

    def execute_many(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run one statement for each of `rows`, for all of them or for none."""
        if len(rows) == 1:
            self.execute(sql, *rows[0])
            return
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._connection.executemany(sql, rows)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self.explain(error) from error

    def execute_durably(self, sql: str, *arguments: object) -> None:
        """Run one statement whose effect survives a power cut from the moment this returns."""
        self.execute("PRAGMA synchronous = FULL")
        try:
            self.execute(sql, *arguments)
        finally:
            self.execute("PRAGMA synchronous = NORMAL")

    def decode(self, text: str) -> JSON:
        """The value of JSON text read from this database.

        Raises ThalwegError if it is none, as in a file that something else wrote to.
        """
        try:
            return json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ThalwegError(
                f"{self.folder / FILE} is damaged: it holds a value that is not JSON"
            ) from error

    def explain(self, error: OSError | sqlite3.Error) -> ThalwegError:
        """The error to raise for `error`, with the number of points that are safe."""
        try:
            kept: int | None = self._connection.execute("SELECT count(*) FROM points").fetchone()[0]
        except sqlite3.Error:
            kept = None
        return explain(error, self.folder, kept)

    def holds_run(self) -> bool:
        """Whether there is a run; False for a file whose creation was interrupted.

        Raises RunConflict if the file belongs to another program, ThalwegError if to a newer Thalweg.
        """
        ((application,),) = self.execute("PRAGMA application_id")
        ((version,),) = self.execute("PRAGMA user_version")
        if application == _APPLICATION_ID:
            if version > SCHEMA_VERSION:
                raise ThalwegError(
                    f"{self.folder} was written by a newer Thalweg (schema {version}, this one reads up to "
                    f"{SCHEMA_VERSION}): upgrade Thalweg"
                )
            return True
        if self.execute("SELECT 1 FROM sqlite_schema LIMIT 1"):
            raise RunConflict(f"{self.folder / FILE} is no run of Thalweg: choose another folder")
        return False

    def create(self, meta: Mapping[str, str]) -> None:
        """Write the schema and `meta` (JSON texts) in one transaction."""
        self.execute("BEGIN IMMEDIATE")
        try:
            for statement in _SCHEMA:
                self.execute(statement)
            for key, value in meta.items():
                self.put_meta(key, value)
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def meta(self, key: str) -> JSON:
        """The value stored under `key`; None if there is none."""
        rows = self.execute("SELECT value FROM meta WHERE key = ?", key)
        return self.decode(rows[0][0]) if rows else None

    def put_meta(self, key: str, text: str) -> None:
        """Store the JSON `text` under `key`."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, text)

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._connection.close()


def _writer(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    for pragma in ("trusted_schema = OFF", "journal_mode = WAL", "synchronous = NORMAL"):
        try:
            connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
    return connection


def _reader(file: Path) -> sqlite3.Connection:
    address = f"{file.resolve().as_uri()}?mode=ro"
    log = file.with_name(f"{file.name}-wal")
    try:
        return _probed(address)
    except sqlite3.OperationalError:
        # Reading a write-ahead log needs a shared-memory file beside it, which a folder on a read-only disk
        # cannot get. Without a log nobody writes, and the file can be read as it is.
        if log.exists() and log.stat().st_size:
            raise
        return _probed(f"{address}&immutable=1")


def _probed(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection
