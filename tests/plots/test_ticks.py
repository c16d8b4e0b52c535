from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from thalweg import plots
from thalweg.plots.ticks import label_decades


@pytest.fixture
def no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting a formula loads fonts that an installation need not have."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a formula was set")

    monkeypatch.setattr(MathTextParser, "parse", refuse)


def labels(low: float, high: float) -> list[str]:
    ax = Figure().add_subplot()
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    label_decades(ax.yaxis)
    ax.figure.draw_without_rendering()
    return [text.get_text() for text in ax.get_yticklabels(which="both") if text.get_text()]


@pytest.mark.usefixtures("no_formulas")
@pytest.mark.parametrize(
    ("low", "high", "some"),
    [
        (1e-9, 1e3, {"10⁻¹", "10¹"}),
        (0.01, 10, {"0.01", "0.1", "1", "10"}),
        (0.05, 0.6, {"0.1", "0.2"}),
        (2e-6, 9e-6, {"3 × 10⁻⁶"}),
        (2e5, 9e5, {"300000"}),
    ],
)
def test_labels_are_plain_letters(low: float, high: float, some: set[str]) -> None:
    assert some <= set(labels(low, high))


LOSS = np.linspace(0.5, 0.06, 8)
X = np.linspace(-1, 1, 21)
BOWL = 0.05 + np.add.outer(X**2, X**2)
CURVES = {"a": (np.arange(8), LOSS[None])}


@pytest.mark.usefixtures("no_formulas")
@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.descent_losses({"adam": LOSS}),
        lambda: plots.seed_curves(CURVES),
        lambda: plots.tuning_curves({"a": ([0.001, 0.01], [0.06, 0.9])}),
        lambda: plots.range_test(np.geomspace(1e-3, 1e-2, 8), LOSS),
        lambda: plots.learning_curves([{"step": i, "loss": loss} for i, loss in enumerate(LOSS)]),
        lambda: plots.line_slice(X, 0.01 + X**2),
        lambda: plots.eigenvalues([30.0, 1.0, 0.2]),
        lambda: plots.signal_propagation([1.0, 0.3], [0.1, 0.02]),
        lambda: plots.spectral_density(X, np.exp(-(X**2))),
        lambda: plots.schedules({"a": LOSS}, logarithmic=True),
        lambda: plots.contours(X, X, BOWL),
        lambda: plots.surface(X, X, BOWL),
        lambda: plots.descents(X, X, BOWL, {"adam": [[0.5, 0.5], [0, 0]]}),
    ],
)
def test_no_picture_needs_the_fonts_of_formulas(draw: Any) -> None:
    ax: Axes = draw()
    ax.figure.draw_without_rendering()
