"""P10: `thalweg survey digits` in a new process, training and report included."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.row import Row


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "digits"
        command = [sys.executable, "-m", "thalweg", "survey", "digits", "--quiet", "--out", str(out)]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took = time.perf_counter() - begun
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        again = time.perf_counter() - begun
        size = (out / "report.html").stat().st_size / 2**20
    return [
        Row("P10", "`thalweg survey digits`, s", took, 30),
        Row("P10", "the same again on the finished run, s", again, None),
        Row("P10", "its report, MiB", size, 4),
    ]
