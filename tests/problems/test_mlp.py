from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.problems import MLP


def test_is_the_composition_of_its_layers():
    model = MLP((3, 5, 4, 2), "tanh").double()
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w1, b1, w2, b2, w3, b3 = model.parameters()
    hidden = torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(model(x), hidden @ w3.T + b3)


def test_options_add_their_layers_to_hidden_layers_only():
    model = MLP((3, 5, 4, 2), "gelu", batchnorm=True, dropout=0.25)
    kinds = [type(layer) for layer in model]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout]
    assert kinds == [*hidden, *hidden, nn.Linear]
    assert [name for name, _ in model.named_children()][:5] == [
        "linear1",
        "norm1",
        "activation1",
        "dropout1",
        "linear2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3,),), r"sizes must be at least two positive layer sizes, got \(3,\)"),
        (((3, 0, 2),), r"got \(3, 0, 2\)"),
        (((3, 4, 2), "sine"), "activation must be one of relu, tanh, gelu, silu, got 'sine'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        MLP(*arguments)
    with pytest.raises(InvalidArgument, match=r"dropout must be in \[0, 1\), got 1.0"):
        MLP((3, 4, 2), dropout=1.0)


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer"])
@pytest.mark.parametrize("hidden", [3, "64", (-3,), (0,), (2.5,), (True,)])
def test_hidden_sizes_that_are_none_are_told_at_once(name, hidden):
    with pytest.raises(
        InvalidArgument, match=r"hidden must be a tuple of .* such as \(64,\), got "
    ) as refused:
        problems.get(name, hidden=hidden)
    assert str(refused.value).endswith(f"got {hidden!r}")


def test_hidden_sizes_may_be_a_list_or_none():
    assert [p.shape for p in problems.get("wine", hidden=[]).make_model().parameters()] == [(3, 13), (3,)]
    assert len(list(problems.get("wine", hidden=[4, 5]).make_model().parameters())) == 6
