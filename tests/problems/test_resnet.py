from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from thalweg import problems
from thalweg.errors import InvalidArgument
from thalweg.problems import ResNet
from thalweg.problems.resnet import ResidualBlock


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameter_counts_of_the_paper(depth, millions):
    # Table 6 of He et al. 2016, rounded there to the digits given.
    digits = 1 if depth == 110 else 2
    with torch.device("meta"):
        assert round(count(ResNet(depth)) / 1e6, digits) == millions


@pytest.mark.parametrize("batchnorm", [True, False])
def test_shortcuts_have_no_parameters(batchnorm):
    with torch.device("meta"):
        with_skip = ResNet(14, batchnorm=batchnorm)
        without = ResNet(14, skip=False, batchnorm=batchnorm)
    assert [p.shape for p in with_skip.parameters()] == [p.shape for p in without.parameters()]


def test_depth_counts_layers_with_weights():
    with torch.device("meta"):
        layers = [m for m in ResNet(56).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 56


@pytest.mark.parametrize("skip", [True, False])
def test_shapes(skip):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = ResNet(8, width=0.5, skip=skip, classes=7).eval()
    assert model(x).shape == (2, 7)
    with torch.device("meta"):
        filters = [p.shape[0] for name, p in ResNet(8, width=2).named_parameters() if "conv1.weight" in name]
    assert filters == [32, 64, 128]


def test_a_block_that_computes_nothing_passes_its_shortcut():
    block = ResidualBlock(4, 8, 2, skip=True, batchnorm=False)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    y = block(x)
    assert y.shape == (2, 8, 3, 3)
    # Option A: every second pixel, four new channels of zeros, half of them on each side.
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()
    block.skip = False
    assert not block(x).any()


def test_logits_stay_moderate_without_normalization():
    # The scaled branches multiply the variance by about e in all, where 2 per branch would give 2^18.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResNet(56, width=0.25, batchnorm=False)
        x = torch.randn(4, 3, 16, 16)
    assert model(x).abs().max() < 100


@pytest.mark.parametrize("depth", [2, 10, 21])
def test_depths_that_the_form_does_not_have(depth):
    with pytest.raises(InvalidArgument, match=rf"depth must be 6k \+ 2 .*, got {depth}"):
        ResNet(depth)
    with pytest.raises(InvalidArgument, match="width must be positive, got 0"):
        ResNet(8, width=0)


@pytest.fixture
def archive(tmp_path):
    generator = np.random.default_rng(0)
    content = {}
    for split, number in (("train", 8), ("test", 4)):
        content[f"x_{split}"] = generator.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
        content[f"y_{split}"] = np.arange(number, dtype=np.uint8)
    np.savez(tmp_path / "cifar10_subset.npz", **content)
    return tmp_path


def test_problem_keeps_the_first_images(archive, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(archive))
    whole = problems.resnet(8, 0.25)
    part = problems.resnet(8, 0.25, skip=False, samples=5, test_samples=2)
    assert len(whole.train[0]) == 8
    assert torch.equal(part.train[0], whole.train[0][:5])
    assert part.test[1].tolist() == [0, 1]
    assert "no skip connections" in part.description
    assert part.objective().size == whole.objective().size
    with pytest.raises(InvalidArgument, match="samples must be between 1 and 8, got 9"):
        problems.resnet(samples=9)
    with pytest.raises(InvalidArgument, match="test_samples must be between 1 and 4, got 0"):
        problems.resnet(test_samples=0)
