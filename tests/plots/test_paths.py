"""What is drawn of losses along paths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thalweg.errors import InvalidArgument
from thalweg.plots import paths


def test_curves_with_their_names() -> None:
    t = [0.0, 0.5, 1.0]
    ax = paths({"line": (t, [1.0, 3.0, math.nan]), "curve": (t, [1.0, 0.001, 1.0])}, ends=("A", "B"))
    assert [str(line.get_label()) for line in ax.lines] == ["line", "curve"]
    assert np.isnan(np.asarray(ax.lines[0].get_ydata())[2])
    assert ax.get_yscale() == "log"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "¼", "½", "¾", "B"]
    assert paths({"line": (t, [0.0, 3.0, 1.0])}).get_yscale() == "linear"


def test_lengths_must_agree() -> None:
    with pytest.raises(InvalidArgument, match="line"):
        paths({"line": ([0.0, 1.0], [1.0])})
