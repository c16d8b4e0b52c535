from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from thalweg.plots import signal_propagation


@pytest.mark.parametrize(
    ("names", "slanted"),
    [
        (["linear1", "linear2", "linear3"], False),
        ([f"blocks.{i}.attention.projection" for i in range(6)], True),
    ],
)
def test_names_are_slanted_only_where_they_would_meet(names: list[str], slanted: bool) -> None:
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = signal_propagation([1.0] * len(names), names=names, ax=figure.add_subplot())
    figure.draw_without_rendering()
    labels = ax.get_xticklabels()
    assert [label.get_rotation() > 0 for label in labels] == [slanted] * len(names)
    if not slanted:
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
