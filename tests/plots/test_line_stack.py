"""The band of several slices."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.errors import InvalidArgument
from thalweg.plots import line_stack

ALPHA = np.linspace(-1, 1, 5)
LINES = np.outer([1.0, 2.0, 3.0, 10.0], 1 + ALPHA**2)


def test_lines_their_mean_and_their_band() -> None:
    ax = line_stack(ALPHA, LINES, band=(0.25, 0.75))
    assert len(ax.lines) == 5
    for line, due in zip(ax.lines, [*LINES, LINES.mean(axis=0)], strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), due)
    (band,) = ax.collections
    corners = {(x, y) for x, y in np.round(band.get_paths()[0].vertices, 12).tolist()}
    for quantile in np.quantile(LINES, [0.25, 0.75], axis=0):
        assert corners >= set(zip(ALPHA.tolist(), np.round(quantile, 12).tolist(), strict=True))
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "mean",
        "25 to 75 % of 4 directions",
        "a direction each",
    ]
    assert (ax.get_yscale(), ax.get_ylabel()) == ("linear", "loss")


def test_decades_and_gaps() -> None:
    lines = LINES * np.array([1e-4, 1e-2, 1.0, 1e-2, np.inf])
    ax = line_stack(ALPHA, lines, name="loss $")
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == r"loss \$"
    assert np.isnan(np.asarray(ax.lines[-1].get_ydata(), dtype=float)).tolist() == [False] * 4 + [True]


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match=r"values must have shape \(4, 3\)"):
        line_stack(ALPHA[:3], LINES)
    with pytest.raises(InvalidArgument, match="band must be two quantiles"):
        line_stack(ALPHA, LINES, band=(0.9, 0.1))
