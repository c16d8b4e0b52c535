from __future__ import annotations

import pytest
import torch

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.problems import Recurrent
from thalweg.problems.recurrent import adding_sequences


@pytest.mark.parametrize("steps", [2, 7, 20])
def test_adding_sequences_mark_one_step_in_each_half(steps):
    x, y = adding_sequences(300, steps, torch.Generator().manual_seed(0))
    values, marks = x.unbind(-1)
    half = steps // 2
    assert x.shape == (300, steps, 2)
    assert torch.all(marks[:, :half].sum(1) == 1)
    assert torch.all(marks[:, half:].sum(1) == 1)
    assert values.min() >= 0
    assert values.max() < 1
    torch.testing.assert_close(y, (values * marks).sum(1, keepdim=True))


def test_answering_one_costs_a_sixth():
    _, y = adding_sequences(20_000, 10, torch.Generator().manual_seed(0))
    # (y − 1)² has mean 1/6 and deviation √(1/15 − 1/36) ≈ 0.197: standard error 0.0014 over 20,000.
    assert (y - 1).square().mean().item() == pytest.approx(1 / 6, abs=0.006)


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3)])
def test_shapes_and_parameter_count(cell, gates):
    problem = problems.recurrent(cell, width=8, steps=5, samples=20, test_samples=4)
    model = problem.make_model()
    assert model(problem.test[0]).shape == (4, 1)
    # A gate: input 2·8, recurrent 8·8, two biases of 8; then the read-out 8 + 1.
    assert sum(p.numel() for p in model.parameters()) == gates * (16 + 64 + 16) + 9


def test_rnn_is_its_recursion():
    model = Recurrent(2, 1, width=4).double()
    x = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight_x, weight_h, bias_x, bias_h, out, bias_out = model.parameters()
    state = torch.zeros(3, 4, dtype=torch.float64)
    for step in x.unbind(1):
        state = torch.tanh(step @ weight_x.T + bias_x + state @ weight_h.T + bias_h)
    torch.testing.assert_close(model(x), state @ out.T + bias_out)


def test_mistakes_are_named():
    with pytest.raises(InvalidArgument, match="steps must be at least 2, got 1"):
        problems.recurrent(steps=1)
    with pytest.raises(InvalidArgument, match="samples and test_samples must be at least 1, got 5, 0"):
        problems.recurrent(samples=5, test_samples=0)
    with pytest.raises(InvalidArgument, match="cell must be one of rnn, gru, got 'lstm'"):
        Recurrent(2, 1, cell="lstm")
