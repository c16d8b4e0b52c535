from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from report.synthetic import put_line, put_plane, results
from thalweg.store import Run

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Make a run folder: every result unless `only` names some, planes of n × n points."""

    def make(n: int = 9, only: tuple[str, ...] | None = None, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "bowl"
        with Run.open(folder, kind="survey", settings={"target": "bowl", "resolution": n}) as run:
            for name, value in (results() | changes).items():
                if only is None or name in only:
                    run.put_result(name, value, seconds=0.25)
            if only is None:
                put_line(run)
                put_plane(run, "trajectory", n, path=True)
                put_plane(run, "random", n, path=False)
                run.put_result("slice.eigen", None)
                for step in range(5):
                    run.put_row(
                        "training", step, {"loss": 2.0 * 0.2**step, "test_accuracy": 0.8 + 0.03 * step}
                    )
                run.note("the path was cut at 3 points")
        return folder

    return make


@pytest.fixture(scope="session")
def folder(build: Build) -> Path:
    return build()
