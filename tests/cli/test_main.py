"""How commands begin and end."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import thalweg as tw
from cli.conftest import Command
from thalweg import problems, surfaces, surveys
from thalweg.cli import main
from thalweg.cli.main import app
from thalweg.errors import UnknownName
from thalweg.store import run
from thalweg.surveys import curvature as measuring

COMMANDS = [
    command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback
]


def test_there_are_commands() -> None:
    assert {"survey", "train", "report", "export", "names"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_an_example(thalweg: Command, command: str, flag: str) -> None:
    found = thalweg(command, flag)
    assert (found.status, found.err) == (0, "")
    _, _, examples = found.out.partition("Example")
    assert f"thalweg {command} " in examples
    # Every option says what it is for.
    assert "--help" in found.out


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_of_all(thalweg: Command, arguments: tuple[str, ...]) -> None:
    found = thalweg(*arguments)
    assert found.status == (0 if arguments else 2)
    text = found.out + found.err
    assert "thalweg survey digits" in text
    for command in COMMANDS:
        assert command in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("survey", "booth", "--nope"), "--nope"),
        (("surve", "booth"), "survey"),
        (("survey",), "TARGET"),
        (("survey", "booth", "extra"), "extra"),
        (("survey", "booth", "--resolution", "many"), "--resolution"),
        (("survey", "booth", "--threads", "0"), "--threads"),
        (("survey", "booth", "--seed", "-1"), "--seed"),
        (("survey", "booth", "--out"), "--out"),
        (("train", "wine", "--seed", "1.5"), "--seed"),
        (("export", "run", "--format", "xlsx"), "netcdf"),
        (("report",), "RUN"),
        (("--nope",), "--nope"),
    ],
)
def test_wrong_usage(thalweg: Command, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    found = thalweg(*arguments)
    assert found.status == 2
    assert found.out == ""
    assert told in found.err
    assert "Traceback" not in found.err
    assert "--debug" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_version(thalweg: Command) -> None:
    for arguments in (("--version",), ("--version", "survey")):
        found = thalweg(*arguments)
        assert (found.status, found.out, found.err) == (0, f"{tw.__version__}\n", "")


@pytest.mark.parametrize("command", ["survey", "train"])
def test_unknown_target(thalweg: Command, tmp_path: Path, command: str) -> None:
    line = thalweg(command, "digitz").line
    assert "target 'digitz'" in line
    assert "did you mean digits" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [("--debug", "survey", "digitz"), ("survey", "--debug", "digitz"), ("survey", "digitz", "--debug")],
)
def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setattr(sys, "argv", ["thalweg", *arguments])
    with pytest.raises(UnknownName):
        main()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("mat1 and mat2\nshapes: 3 lines\nmore"), "RuntimeError: mat1 and mat2"),
        (AssertionError(), "AssertionError: "),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_unexpected_error_is_one_line(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(surveys, "survey", fail)
    assert thalweg("survey", "booth").line == f"{told} (unexpected; --debug shows where)"


@pytest.mark.parametrize("command", ["survey", "train"])
@pytest.mark.parametrize("json", [(), ("--json",)])
def test_interruption(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch, command: str, json: tuple[str, ...]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    # Of other tests in this process.
    monkeypatch.setattr(run, "_opened", set[Path]())
    monkeypatch.setattr(surveys, "survey", interrupted)
    monkeypatch.setattr(surveys, "train_into", interrupted)
    found = thalweg(command, "wine", *json)
    assert found.status == 130
    assert found.out == ""
    assert found.err == "thalweg: interrupted: nothing was kept, the same command begins anew\n"


def test_fonts_that_are_not_there_are_no_news(thalweg: Command) -> None:
    log = logging.getLogger("matplotlib.font_manager")
    log.setLevel(logging.NOTSET)
    thalweg("--version")
    assert not log.isEnabledFor(logging.WARNING)
    assert log.isEnabledFor(logging.ERROR)


def test_names(thalweg: Command) -> None:
    found = thalweg("names")
    assert (found.status, found.err) == (0, "")
    for name in (*problems.names(), *surfaces.names()):
        assert name in found.out
    assert thalweg("names", "--json").json == {"problems": problems.names(), "surfaces": surfaces.names()}


def test_an_interruption_says_that_something_is_kept_only_where_it_is(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    # Of other tests in this process.
    monkeypatch.setattr(run, "_opened", set[Path]())
    measures = dict(measuring.MEASURES)
    monkeypatch.setitem(measuring.MEASURES, "trace", interrupt)
    ended = thalweg("curvature", "rosenbrock", "--measure", "kind,trace")
    assert (ended.status, ended.out) == (130, "")
    assert ended.err == "thalweg: interrupted: nothing was kept, the same command begins anew\n"
    assert thalweg("train", "wine", "--epochs", 1, "--out", "a").status == 0
    monkeypatch.setattr(run, "_opened", set[Path]())
    # A run folder that was opened and holds nothing yet keeps nothing either.
    monkeypatch.setitem(measuring.MEASURES, "eigenpairs", interrupt)
    along = ("curvature", "wine", "--trajectory", "a", "--measure", "eigenpairs,trace")
    assert "nothing was kept" in thalweg(*along).err
    monkeypatch.setitem(measuring.MEASURES, "eigenpairs", measures["eigenpairs"])
    ended = thalweg(*along)
    assert ended.status == 130
    assert ended.err == "thalweg: interrupted: what was measured is kept, and the same command continues\n"
