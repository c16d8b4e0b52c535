from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests.initialization.models import Bottleneck, Branches, ParallelBlock
from torch import Tensor, nn

from thalweg.initialization import Initialization, initialize
from thalweg.problems.character_gpt import CharacterGPT
from thalweg.problems.recurrent import Recurrent
from thalweg.problems.resnet import ResNet


def scaled(report: Initialization) -> dict[str, int]:
    """The number of branches by which the last layers of branches were divided."""
    found: dict[str, int] = {}
    for entry in report.parameters:
        if "residual branch" in entry.reason and "normalization follows" not in entry.reason:
            found[entry.name] = int(entry.reason.split("1/√")[1].split(",")[0]) if "√" in entry.reason else 1
    return found


def test_a_transformer_is_scaled_as_gpt2() -> None:
    layers, width = 3, 16
    model = CharacterGPT(30, layers=layers, width=width, heads=2, context=8)
    report = initialize(model, x=torch.randint(30, (2, 8)))
    ends = [f"blocks.{i}.{name}.weight" for i in range(layers) for name in ("attention.output", "contract")]
    assert scaled(report) == dict.fromkeys(ends, 2 * layers)
    assert report[ends[0]].std == pytest.approx(width**-0.5 / math.sqrt(2 * layers))
    assert report[ends[1]].std == pytest.approx((4 * width) ** -0.5 / math.sqrt(2 * layers))


@pytest.mark.parametrize("norm_first", [True, False])
def test_only_a_pre_norm_encoder_has_a_stream_that_grows(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    counts = set(scaled(initialize(model, x=torch.randn(3, 5, 16))).values())
    assert counts == ({8} if norm_first else {1})


def test_a_resnet_without_batchnorm_is_scaled_and_one_with_it_is_not() -> None:
    x = torch.randn(4, 3, 16, 16)
    report = initialize(ResNet(14, width=0.25, batchnorm=False), x=x)
    assert scaled(report) == {f"blocks.{i}.conv2.weight": 6 for i in range(6)}
    normed = initialize(ResNet(14, width=0.25), x=x)
    assert scaled(normed) == {}
    assert "a normalization follows" in normed["blocks.0.conv2.weight"].reason
    assert scaled(initialize(ResNet(14, width=0.25, skip=False, batchnorm=False), x=x)) == {}


def test_a_projected_shortcut_is_the_stream() -> None:
    model = nn.Sequential(Bottleneck(3, 8), Bottleneck(8, 8))
    report = initialize(model, x=torch.randn(2, 3, 16, 16))
    assert scaled(report) == {"0.second.weight": 2, "1.second.weight": 2}


def test_parallel_branches_count_twice() -> None:
    model = nn.Sequential(ParallelBlock(8), ParallelBlock(8))
    report = initialize(model, x=torch.randn(2, 5, 8))
    ends = [f"{i}.{name}" for i in (0, 1) for name in ("attention.out_proj.weight", "down.weight")]
    assert scaled(report) == dict.fromkeys(ends, 4)


def test_a_factor_in_the_model_is_not_applied_twice() -> None:
    x = torch.randn(3, 8)
    blocks = 4
    plain = initialize(Branches(blocks, 8), x=x)["outer.0.weight"].gain
    assert plain == pytest.approx(0.5)
    assert initialize(Branches(blocks, 8, scale=0.5), x=x)["outer.0.weight"].gain == 1
    assert initialize(Branches(blocks, 8, scale=0.1), x=x)["outer.0.weight"].gain == 1
    assert initialize(Branches(blocks, 8, scale=2.0), x=x)["outer.0.weight"].gain == pytest.approx(0.25)


def test_the_residual_scheme_is_auto_where_there_are_branches() -> None:
    auto, residual = Branches(3, 8), Branches(3, 8)
    initialize(auto, "auto", 1)
    initialize(residual, "residual", 1)
    assert all(torch.equal(p, q) for p, q in zip(auto.parameters(), residual.parameters(), strict=True))


class NotResidual(nn.Module):
    """Sums that are no residual additions: of two projections of one input, and of a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)
        self.recur = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            h = torch.tanh(self.left(x[:, step]) + self.right(x[:, step]) + self.recur(h))
        return h


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (NotResidual(), torch.randn(2, 4, 6)),
        (Recurrent(2, 1, cell="gru"), torch.randn(2, 5, 2)),
        (Recurrent(2, 1, cell="rnn"), torch.randn(2, 5, 2)),
    ],
)
def test_other_sums_are_not_taken_for_residual(model: nn.Module, x: Tensor) -> None:
    assert scaled(initialize(model, x=x)) == {}


def test_a_branch_ending_in_an_activation_keeps_its_gain() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + F.relu(layer(x))
            return x

    report = initialize(Model())
    assert report["layers.0.weight"].scheme == "he"
    assert report["layers.0.weight"].gain == pytest.approx(math.sqrt(2) / 2)
