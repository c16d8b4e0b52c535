"""The examples run, end, and leave what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LEAVES = {
    "condition_number": ["runs/condition_number.png"],
    "connect": ["runs/connect.png"],
    "curvature": [],
    "landscape": ["runs/landscape.png", "runs/landscape.nc"],
    "my_model": ["runs/my_model/report.html"],
}


def test_every_example_is_known() -> None:
    assert sorted(LEAVES) == sorted(file.stem for file in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", LEAVES)
def test_it_runs(tmp_path: Path, name: str) -> None:
    found = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout
    for file in LEAVES[name]:
        assert (tmp_path / file).stat().st_size > 1000
