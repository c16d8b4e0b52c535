"""P9: how long `thalweg --help` and `import thalweg` take, in new processes."""

import statistics
import subprocess
import sys
import time

from benchmarks.row import Row


def seconds(command: list[str], repeats: int = 7) -> float:
    """Median wall time of a command, after one run that fills the file cache."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def measure() -> list[Row]:
    empty = seconds([sys.executable, "-c", "pass"])
    return [
        Row("P9", "`thalweg --help`, s", seconds([sys.executable, "-m", "thalweg", "--help"]), 0.4),
        Row("P9", "`import thalweg`, s", seconds([sys.executable, "-c", "import thalweg"]) - empty, 0.1),
    ]
