from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from thalweg import report
from thalweg.cli import main


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed, without colours."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output, as a strict reader reads it."""

        def refuse(token: str) -> None:
            raise AssertionError(f"{token} is no JSON")

        assert self.out.count("\n") == 1
        found = json.loads(self.out, parse_constant=refuse)
        assert isinstance(found, dict)
        return found

    @property
    def line(self) -> str:
        """The one line that it failed with; there was nothing else."""
        assert self.status == 1
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert self.err.startswith("thalweg: error: ")
        return self.err.removeprefix("thalweg: error: ").rstrip("\n")


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def thalweg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["thalweg", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capsys.readouterr())
        code = stop.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, out, err)

    return run


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the report does not matter: drawing it takes longer than the rest."""
    monkeypatch.setattr(report, "write", lambda folder, *_, **__: Path(folder) / "report.html")
