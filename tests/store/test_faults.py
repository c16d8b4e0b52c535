"""Kills, full disks, second writers and foreign files leave a run whole."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from thalweg.errors import InvalidArgument, RunConflict, ThalwegError, UnsafeFile
from thalweg.store import Run

OPEN = "from thalweg.store import Run; run = Run.open(sys.argv[1], kind='survey', settings={}); "
WRITER = "import sys; " + OPEN + "print('ready', run.evaluations('loss'), flush=True); "
POINTS = (
    WRITER
    + """
i = run.evaluations('loss')
while True:
    run.put_point('loss', (i // 50, i % 50), {'loss': i / 7})
    i += 1
    sys.stdout.write(f'{i}\\n')
    sys.stdout.flush()
"""
)


def start(code, folder):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def open_run(folder, **options):
    return Run.open(folder, kind="survey", settings={}, **options)


def test_every_acknowledged_point_survives_kills(tmp_path):
    chance = random.Random(0)
    kept = 0
    for _ in range(4):
        writer = start(POINTS, tmp_path / "a")
        assert writer.stdout.readline() == f"ready {kept}\n"
        time.sleep(chance.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        acknowledged = [
            int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
        writer.wait()
        with Run.read(tmp_path / "a") as run:
            points, kept = run.points("loss"), run.evaluations("loss")
        # One more than acknowledged where the kill came between the commit and the line.
        assert kept - (acknowledged or [kept])[-1] in (0, 1)
        assert points == {(i // 50, i % 50): {"loss": i / 7} for i in range(kept)}
    assert kept > 0


def test_a_killed_run_can_be_copied_and_read(tmp_path):
    writer = start(POINTS, tmp_path / "a")
    lines = [writer.stdout.readline() for _ in range(50)]
    writer.kill()
    writer.wait()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with Run.read(tmp_path / "b") as run:
        assert run.evaluations("loss") >= int(lines[-1])


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    writer = start(WRITER + "sys.stdin.read()", tmp_path / "a")
    assert writer.stdout.readline() == "ready 0\n"
    with pytest.raises(RunConflict, match=f"is in use by process {writer.pid} on "):
        open_run(tmp_path / "a")
    writer.kill()
    with open_run(tmp_path / "a", timeout=10) as run:
        assert run.resumed
        with pytest.raises(RunConflict, match=f"process {os.getpid()}"):
            open_run(tmp_path / "a", timeout=0.1)
    open_run(tmp_path / "a").close()
    writer.wait()


def test_a_refused_open_gives_the_lock_back(tmp_path):
    open_run(tmp_path / "a").close()
    with pytest.raises(RunConflict):
        Run.open(tmp_path / "a", kind="train", settings={})
    open_run(tmp_path / "a").close()


def test_a_reader_follows_a_writer(tmp_path):
    with open_run(tmp_path / "a") as writer, Run.read(tmp_path / "a") as reader:
        for i in range(20):
            writer.put_point("loss", (i,), {"loss": float(i)})
            assert len(reader.points("loss")) == i + 1


def test_threads_share_a_run(tmp_path):
    with open_run(tmp_path / "a") as run:

        def write(column):
            for i in range(200):
                run.put_point("loss", (i, column), {"loss": float(i)})
                assert run.points("loss")[i, column] == {"loss": float(i)}

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(write, range(2)))
        assert run.evaluations("loss") == 400


def test_a_full_disk_keeps_what_was_written(tmp_path):
    with open_run(tmp_path / "a") as run:
        run.put_point("loss", (0,), {"loss": 0.0})
        pages = run._database.execute("PRAGMA page_count")[0][0]
        run._database.execute(f"PRAGMA max_page_count = {pages + 5}")
        written = 1
        with pytest.raises(ThalwegError) as full:  # noqa: PT012
            for written in range(1, 10_000):
                run.put_point("loss", (written,), {"loss": float(written)})
        assert str(full.value) == (
            f"the disk holding {run.path} is full: free space and run the same command again; "
            f"{written} points are kept"
        )
        run._database.execute("PRAGMA max_page_count = 1000000")
        run.put_point("loss", (written,), {"loss": float(written)})
    with Run.read(tmp_path / "a") as run:
        assert run.points("loss") == {(i,): {"loss": float(i)} for i in range(written + 1)}


def test_a_full_disk_keeps_the_old_tensors(tmp_path, monkeypatch):
    def no_room(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    with open_run(tmp_path / "a") as run:
        run.put_tensors("point", {"theta": np.ones(3)})
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", no_room)
            with pytest.raises(ThalwegError, match=r"is full: free space.*; 0 points are kept"):
                run.put_tensors("point", {"theta": np.zeros(3)})
        assert run.tensors("point")["theta"].tolist() == [1, 1, 1]
        assert [entry.name for entry in (run.path / "tensors").iterdir()] == ["point.safetensors"]


@pytest.fixture
def readable_folder():
    """A folder that other users can reach; pytest's own is private to its user."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def unprivileged():
    """Root may write anywhere, so a test of permissions has to become somebody else."""

    class Somebody:
        def __enter__(self):
            if os.geteuid() == 0:
                os.seteuid(65534)

        def __exit__(self, *_):
            os.seteuid(os.getuid())

    return Somebody()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_read_only_folder_can_be_read_and_not_written(readable_folder, unprivileged):
    with open_run(readable_folder / "a") as run:
        run.put_point("loss", (0,), {"loss": 1.0})
    os.chmod(run.path, 0o555)
    with unprivileged:
        with Run.read(run.path) as reader:
            assert reader.points("loss") == {(0,): {"loss": 1.0}}
        # Where the test's own user owns the folder, its lock file still opens; the database does not.
        with pytest.raises(
            InvalidArgument, match=r"cannot be used: Permission denied|cannot be (written|opened)"
        ):
            open_run(run.path)
        with pytest.raises(InvalidArgument, match="Permission denied"):
            open_run(run.path / "b")
    os.chmod(run.path, 0o755)


def test_an_interrupted_creation_is_started_again(tmp_path, monkeypatch):
    from thalweg.store.database import Database

    def killed(self, key, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Database, "put_meta", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(tmp_path / "a")
    with open_run(tmp_path / "a") as run:
        assert not run.resumed


def test_a_newer_schema_is_refused(tmp_path):
    open_run(tmp_path / "a").close()
    with sqlite3.connect(tmp_path / "a" / "run.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (open_run, Run.read):
        with pytest.raises(ThalwegError, match=r"newer Thalweg \(schema 99.*upgrade"):
            opening(tmp_path / "a")


def test_foreign_and_damaged_databases_are_refused(tmp_path):
    with sqlite3.connect(tmp_path / "run.sqlite") as connection:
        connection.execute("CREATE TABLE photos (name)")
    connection.close()
    for opening in (open_run, Run.read):
        with pytest.raises(RunConflict, match="no run of Thalweg"):
            opening(tmp_path)
    (tmp_path / "run.sqlite").write_bytes(b"not a database" * 500)
    for opening in (open_run, Run.read):
        with pytest.raises(ThalwegError, match="may be damaged"):
            opening(tmp_path)


def test_a_database_with_broken_values_is_refused(tmp_path):
    with open_run(tmp_path / "a") as run:
        run.put_result("a", 1)
        run._database.execute("UPDATE results SET value = 'import os'")
        with pytest.raises(ThalwegError, match="not JSON"):
            run.result("a")


def test_a_database_outside_the_folder_is_refused(tmp_path):
    open_run(tmp_path / "a").close()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.sqlite").symlink_to(tmp_path / "a" / "run.sqlite")
    for opening in (open_run, Run.read):
        with pytest.raises(UnsafeFile, match="leads out of the run folder"):
            opening(tmp_path / "b")
