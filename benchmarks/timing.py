"""Times of several calls, measured so that they can be compared."""

import statistics
import time
from collections.abc import Callable, Sequence


def median_seconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median time of each call, taken in turns so that a slow moment falls on all of them."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, kept in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            kept.append(time.perf_counter() - begun)
    return [statistics.median(kept) for kept in times]
