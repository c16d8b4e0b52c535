"""What is drawn of a quantity over checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thalweg.errors import InvalidArgument
from thalweg.plots import along_run


def test_values_band_and_gap() -> None:
    ax = along_run([0, 1, 2], [2.0, math.nan, 4.0], [0.5, math.nan, math.inf], label="trace", step="epoch")
    (line,) = ax.lines
    assert np.asarray(line.get_ydata())[[0, 2]].tolist() == [2, 4]
    assert math.isnan(np.asarray(line.get_ydata())[1])
    (band,) = ax.collections
    assert 2.5 in band.get_paths()[0].vertices[:, 1]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "trace", "linear")
    assert ax.get_ylim()[0] == 0


def test_limits() -> None:
    ax = along_run([0, 1], [1.0, 2.0], limits={"edge": 20.0, "far away": 1e4})
    assert [text.get_text() for text in ax.texts] == ["edge"]
    assert ax.get_ylim()[1] > 20
    # Ranges of values and limits together decide on the axis.
    assert ax.get_yscale() == "linear"
    assert along_run([0, 1], [1.0, 2.0], limits={"edge": 40.0}).get_yscale() == "log"


def test_negative_values_keep_a_linear_axis() -> None:
    ax = along_run([0, 1], [-1.0, 200.0])
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < -1


def test_nothing_finite_is_an_empty_axis() -> None:
    ax = along_run([0, 1], [math.nan, math.nan], limits={"edge": 1.0})
    assert not list(ax.texts)


def test_lengths_must_agree() -> None:
    with pytest.raises(InvalidArgument, match="values"):
        along_run([0, 1], [1.0])
