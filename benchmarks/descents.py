"""P7: a basin map of 512 × 512 starts and 300 steps of Adam, warm and in a new process."""

import sys
import time

import thalweg as tw
from benchmarks.row import Row
from benchmarks.startup import seconds
from benchmarks.timing import median_seconds

COLD = (
    "import thalweg as tw; tw.optim.basins(tw.surfaces.get({!r}), 'adam', lr=0.05, resolution=512, steps=300)"
)
UNCOMPILED = COLD.replace("steps=300)", "steps=300, compile=False)")


def measure() -> list[Row]:
    rows: list[Row] = []
    for name in ("rosenbrock", "himmelblau"):
        surface = tw.surfaces.get(name)
        begun = time.perf_counter()
        tw.optim.basins(surface, "adam", lr=0.05, resolution=512, steps=300)
        first = time.perf_counter() - begun
        (warm,) = median_seconds(
            [lambda s=surface: tw.optim.basins(s, "adam", lr=0.05, resolution=512, steps=300)], 9
        )
        rows += [
            Row("P7", f"basin map of {name}, warm, s", warm, 0.2),
            Row(
                "P7",
                "the same in a new process, s",
                seconds([sys.executable, "-c", COLD.format(name)], 5),
                2.0,
            ),
            Row(
                "P7",
                "the same without compiling, s",
                seconds([sys.executable, "-c", UNCOMPILED.format(name)], 3),
                None,
            ),
            Row("P7", "first call here, compiled kernel loaded or built, s", first, None),
        ]
    empty = "import torch"
    rows.append(Row("P7", "of these, importing torch, s", seconds([sys.executable, "-c", empty], 5), None))
    return rows
