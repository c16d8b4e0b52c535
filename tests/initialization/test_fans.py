from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from thalweg.initialization import initialize
from thalweg.initialization.fans import module_fans


def torch_fans(weight: Tensor) -> tuple[int, int]:
    return nn.init._calculate_fan_in_and_fan_out(weight)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "module", [nn.Linear(5, 7), nn.Conv1d(4, 6, 3), nn.Conv2d(3, 8, (3, 5)), nn.Conv3d(2, 3, 2)]
)
def test_dense_layers_have_the_fans_of_torch(module: nn.Module) -> None:
    weight = module.get_parameter("weight")
    fans = module_fans(module, "weight", weight)
    assert fans is not None
    assert (fans.inputs, fans.outputs) == torch_fans(weight)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(8, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(6, 5, 4, stride=4, bias=False),
        nn.Conv2d(6, 5, 4, stride=2, bias=False),
        nn.ConvTranspose2d(6, 4, 4, stride=2, bias=False),
        nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False),
        nn.ConvTranspose2d(8, 4, 3, groups=2, bias=False),
        nn.ConvTranspose1d(6, 9, 3, bias=False),
    ],
)
def test_fans_are_counted_in_the_jacobian(module: nn.Module) -> None:
    """With weights of one, an output's row of the Jacobian sums to its fan-in, an input's column to its fan-out."""
    nn.init.ones_(module.get_parameter("weight"))
    size = (32,) if isinstance(module, nn.ConvTranspose1d) else (32, 32)
    weight = module.get_parameter("weight")
    inputs = module.in_channels
    x = torch.ones(1, inputs, *size, requires_grad=True)
    y = module(x)
    (back,) = torch.autograd.grad(y.sum(), x)
    fans = module_fans(module, "weight", weight)
    assert fans is not None
    assert float(inner(y.detach()).mean()) == pytest.approx(fans.inputs, rel=1e-6)
    assert float(inner(back).mean()) == pytest.approx(fans.outputs, rel=1e-6)


def inner(maps: Tensor) -> Tensor:
    """Places away from the border: whole periods of strides 1, 2 and 4, whose places differ."""
    length = maps.shape[-1] // 2 // 4 * 4
    start = (maps.shape[-1] - length) // 2
    return maps[(..., *(slice(start, start + length),) * (maps.dim() - 2))]


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(64, 128, bias=False),
        nn.Conv2d(16, 64, 3, padding=1, padding_mode="circular", groups=2, bias=False),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
        nn.Conv1d(32, 32, 4, stride=4, bias=False),
    ],
)
def test_he_keeps_the_mean_square_through_relu(module: nn.Module) -> None:
    model = nn.Sequential(module, nn.ReLU())
    channels = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    shape = {nn.Linear: (512, 64), nn.Conv1d: (32, channels, 64)}.get(type(module), (8, channels, 16, 16))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw)
    sizes = []
    for seed in range(8):
        initialize(model, "he", seed, x=x)
        y = model(x).detach()
        sizes.append(float((inner(y) if y.dim() > 2 else y).square().mean()))
    # At least 32 units of 64 weights: a mean of units with relative deviation about √(2/64 + 3)/√32, over 8 seeds.
    assert sum(sizes) / 8 == pytest.approx(1, abs=4 * (3.03 / 32 / 8) ** 0.5)


def test_packed_projections_and_gates_have_the_fans_of_one() -> None:
    attention = nn.MultiheadAttention(16, 2)
    fans = module_fans(attention, "in_proj_weight", attention.in_proj_weight)
    assert fans is not None
    assert (fans.inputs, fans.outputs, fans.blocks) == (16, 16, 3)
    lstm = nn.LSTM(5, 8)
    fans = module_fans(lstm, "weight_ih_l0", lstm.get_parameter("weight_ih_l0"))
    assert fans is not None
    assert (fans.inputs, fans.outputs, fans.blocks) == (5, 8, 4)
    bilinear = nn.Bilinear(3, 4, 5)
    fans = module_fans(bilinear, "weight", bilinear.weight)
    assert fans is not None
    assert (fans.inputs, fans.outputs) == (12, 5)


def test_orthogonal_blocks() -> None:
    attention = nn.Sequential(
        nn.LSTM(6, 8),
    )
    entry = initialize(attention, "orthogonal", 1)["0.weight_hh_l0"]
    for gate in attention.get_parameter("0.weight_hh_l0").chunk(4):
        # float32 QR of 8 columns: a few roundings each.
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    assert entry.std == pytest.approx(1 / math.sqrt(8))
    grouped = nn.Conv2d(8, 12, 3, groups=4)
    initialize(grouped, "orthogonal", 1)
    for block in grouped.weight.chunk(4):
        rows = block.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-5, rtol=0)
