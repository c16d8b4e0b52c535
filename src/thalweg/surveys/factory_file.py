"""A target from a user's own file: `path/to/file.py:factory`. The file is executed."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thalweg.errors import InvalidArgument, MissingData


def call_factory(target: str) -> Any:
    """What the function named in "path/to/file.py:factory" returns; modules beside the file can be imported.

    Raises MissingData for a file that is not there and InvalidArgument, with the file's own line, for one
    that does not run, lacks the factory, or whose factory raises.
    """
    path, _, name = target.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise MissingData(f"target {target!r}: there is no file {file}")
    if not name.isidentifier():
        raise InvalidArgument(f"target {target!r} must name a function after the colon, got {name!r}")
    with _importable(file.resolve().parent):
        module = _executed(file)
        factory = getattr(module, name, None)
        if factory is None:
            own = [
                key
                for key, value in vars(module).items()
                if getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
            ]
            raise InvalidArgument(f"{file} has no {name!r}; it has {', '.join(own) or 'no functions'}")
        if not callable(factory):
            raise InvalidArgument(f"{file}:{name} must be a function, got {type(factory).__name__}")
        try:
            return factory()
        except (Exception, SystemExit) as error:
            raise InvalidArgument(f"{file}:{name}() raised {_where(error, file)}") from error


def _executed(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"thalweg_target_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InvalidArgument(f"target file {file} must be a Python file ending in .py")
    module = importlib.util.module_from_spec(spec)
    # Classes defined in the file look their own module up, for instance to be pickled by a loader's workers.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        # It may be in a module that the file imports.
        raise InvalidArgument(f"{error.filename or file}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise InvalidArgument(f"{file} raised {_where(error, file)} when it was imported") from error
    return module


def _where(error: BaseException, file: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == file.resolve()
    ]
    place = f" at line {lines[-1]}" if lines else ""
    # torch's messages can have several lines.
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason}{place}"


@contextmanager
def _importable(folder: Path) -> Generator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
