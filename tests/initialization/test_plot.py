from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.initialization.models import chain
from torch import nn

from thalweg.errors import InvalidArgument
from thalweg.initialization import audit, initialize
from thalweg.plots import signal_propagation


def test_an_audit_is_drawn_on_a_logarithmic_axis() -> None:
    model = chain(nn.Sigmoid, 12, 16, bias=True)
    initialize(model)
    found = audit(model, torch.randn(8, 16, generator=torch.Generator().manual_seed(0)))
    ax = Figure().add_subplot()
    names = [layer.name for layer in found.layers]
    scales, gradients = [e.scale for e in found.layers], [e.gradient_scale for e in found.layers]
    assert signal_propagation(scales, gradients, names, ax, first_bad=found.first_bad) is ax
    assert ax.get_yscale() == "log"
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == scales
    assert np.asarray(ax.lines[1].get_ydata()).tolist() == gradients
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][2] == f"first bad layer: {found.first_bad}"


def test_gaps_and_many_layers() -> None:
    ax = signal_propagation([1.0, 0.0, math.inf, *[1.0] * 20])
    assert np.isnan(ax.lines[0].get_ydata()).nonzero()[0].tolist() == [1, 2]
    assert len(ax.lines) == 1
    assert ax.get_xlabel() == "layer"


def test_bad_input() -> None:
    with pytest.raises(InvalidArgument, match="gradients must be a sequence of 2 numbers"):
        signal_propagation([1, 2], [1])
    with pytest.raises(InvalidArgument, match="names must be as many as activations, 2, got 1"):
        signal_propagation([1, 2], names=["a"])
    with pytest.raises(InvalidArgument, match="first_bad must be one of the names, got 'c'"):
        signal_propagation([1, 2], names=["a", "b"], first_bad="c")
