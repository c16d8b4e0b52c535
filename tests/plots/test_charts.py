from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from thalweg.errors import InvalidArgument
from thalweg.plots import eigenvalues, learning_curves, line_slice, paper, spectral_density

ROWS = [
    {"step": t, "loss": 2 * 0.1**t, "test_loss": 2 * 0.5**t, "test_accuracy": 1 - 0.5**t} for t in range(4)
]


def twins(ax: Axes) -> list[Axes]:
    figure: Any = ax.figure
    return [other for other in figure.axes if other is not ax]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_pyplot_is_not_imported_and_nothing_is_shown() -> None:
    program = (
        "import sys, thalweg.plots as p; assert 'matplotlib' not in sys.modules; "
        "p.learning_curves([{'step': 0, 'loss': 1.0}]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_learning_curves() -> None:
    ax = Figure().add_subplot()
    assert learning_curves(ROWS, ax) is ax
    assert len(ax.lines) == 2
    assert ax.get_yscale() == "log"
    (right,) = twins(ax)
    assert right.lines[0].get_ydata().tolist() == [0, 0.5, 0.75, 0.875]
    assert legend(ax) == ["training loss", "test loss", "test accuracy"]


def test_learning_curves_without_accuracy_over_a_small_range_with_a_gap() -> None:
    ax = learning_curves(
        [{"step": 0, "loss": 3.0}, {"step": 1, "loss": math.inf}, {"step": 2, "loss": 1.0}], step="iteration"
    )
    assert ax.get_yscale() == "linear"
    assert not twins(ax)
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False]
    assert ax.get_xlabel() == "iteration"


def test_learning_curves_need_a_loss() -> None:
    with pytest.raises(InvalidArgument, match="at least one 'loss' or 'test_loss'"):
        learning_curves([{"step": 0, "lr": 0.1}])


def test_eigenvalues_of_both_signs_over_decades() -> None:
    ax = eigenvalues([10.0, 1.0, -0.01], [0.1, 0.01, 0.005], [True, True, False], size=1000)
    assert ax.get_yscale() == "symlog"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "1,000"]
    assert "997 more between" in [text.get_text() for text in ax.texts]
    assert legend(ax) == ["not converged"]
    bars = [container.lines[2][0].get_segments() for container in ax.containers]
    assert bars[0][0][:, 1].tolist() == pytest.approx([9.9, 10.1])
    assert bars[1][0][:, 1].tolist() == pytest.approx([-0.015, -0.005])


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1000.0, 0.4], "log"), ([3.0, 1.0, -2.0], "linear"), ([0.0, 0.0], "linear"), ([-0.01, -5.0], "symlog")],
)
def test_the_scale_of_eigenvalues(values: list[float], scale: str) -> None:
    ax = eigenvalues(values, size=len(values))
    assert ax.get_yscale() == scale
    assert not ax.texts
    low, high = ax.get_ylim()
    assert low <= min(values)
    assert max(values) <= high


def test_eigenvalues_and_residuals_must_match() -> None:
    with pytest.raises(InvalidArgument, match="residuals must be a sequence of 2 numbers"):
        eigenvalues([2.0, 1.0], [0.1])


def test_spectral_density() -> None:
    grid = np.linspace(-1, 5, 200)
    density = 50 * np.exp(-0.5 * (grid / 0.1) ** 2)
    ax = spectral_density(grid, density, np.full(200, 0.5), [4.0, 3.0, -0.2], width=0.1, size=500)
    assert ax.get_yscale() == "log"
    # Nothing below a thirtieth of what one eigenvalue alone would show is drawn.
    single = 1 / (500 * 0.1 * math.sqrt(2 * math.pi))
    assert ax.get_ylim()[0] == pytest.approx(single / 30)
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"] == pytest.approx(
        [single]
    )
    (ticks,) = [child for child in ax.collections if isinstance(child, LineCollection)]
    assert [segment[0][0] for segment in ticks.get_segments()] == [4.0, 3.0, -0.2]
    assert [0, 0] in [list(line.get_xdata()) for line in ax.lines]
    assert "± 1 standard error" in legend(ax)


def test_spectral_density_alone() -> None:
    ax = spectral_density([0.0, 1.0], [0.0, 0.0])
    assert ax.get_yscale() == "log"
    assert not [child for child in ax.collections if isinstance(child, LineCollection)]


def test_line_slice_has_loss_and_accuracy_and_hatches_what_is_missing() -> None:
    alpha = np.linspace(-1, 1, 9)
    loss = 0.01 + 5 * alpha**2
    loss[:2] = math.inf
    loss[6] = math.nan
    ax = line_slice(alpha, loss, 1 - alpha**2, label="$x", marks={"the $point": 0.0})
    assert ax.get_yscale() == "log"
    assert len(ax.lines) == 2
    (right,) = twins(ax)
    assert right.get_ylim() == (0, 1.03)
    assert all(patch.get_hatch() for patch in ax.patches)
    # Up to the neighbours that are there, as the line leaves it free.
    spans: Any = ax.patches
    assert [(span.get_x(), span.get_width()) for span in spans] == [(-1.0, 0.5), (0.25, 0.5)]
    assert legend(ax) == ["loss", "not finite", "accuracy"]
    ax.figure.draw_without_rendering()


def test_line_slice_of_a_small_range_alone_is_linear() -> None:
    ax = line_slice([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert ax.get_yscale() == "linear"
    assert not twins(ax)
    assert not legend(ax)
    assert not ax.patches


def test_paper_leaves_settings_as_they_were() -> None:
    import matplotlib

    matplotlib.rcParams["font.size"] = 31
    try:
        with paper():
            assert matplotlib.rcParams["font.size"] == 10
            assert matplotlib.rcParams["svg.hashsalt"] == "thalweg"
        assert matplotlib.rcParams["font.size"] == 31
    finally:
        matplotlib.rcdefaults()


def test_settings_of_the_user_are_honoured() -> None:
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 7.0}):
        assert line_slice([0.0, 1.0], [1.0, 2.0]).lines[0].get_linewidth() == 7.0
