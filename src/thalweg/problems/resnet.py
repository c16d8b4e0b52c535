"""Residual networks for 32×32 images, with or without their skip connections."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, relu

from thalweg.errors import InvalidArgument
from thalweg.problems.cifar import cifar_images
from thalweg.problems.problem import Problem, Training


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, their result added to the input when `skip` is true.

    Inputs (b, inputs, h, w), outputs (b, outputs, h / stride, w / stride). Where the shape changes the
    shortcut takes every `stride`-th pixel and pads the new channels with zeros (option A of the paper), so
    a shortcut never has parameters and the variant without it has equally many.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, skip: bool, batchnorm: bool) -> None:
        super().__init__()
        self.stride = stride
        self.skip = skip
        self.new_channels = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=not batchnorm)
        self.norm1 = nn.BatchNorm2d(outputs) if batchnorm else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=not batchnorm)
        self.norm2 = nn.BatchNorm2d(outputs) if batchnorm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (b, outputs, h / stride, w / stride)."""
        y = relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return relu(y + self.shortcut(x)) if self.skip else relu(y)

    def shortcut(self, x: Tensor) -> Tensor:
        """The input at the resolution and with the channels of the output."""
        if self.stride == 1 and not self.new_channels:
            return x
        before = self.new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return pad(x, (0, 0, 0, 0, before, self.new_channels - before))


class ResNet(nn.Module):
    """ResNet-n for small images, n = 6k + 2: images (b, channels, h, w) to logits (b, classes).

    Three stages of k blocks with 16, 32 and 64 filters times `width`, global average pooling, one linear
    layer. `skip=False` leaves the shortcuts out (ResNet-n without short connections, Li et al. 2018);
    `batchnorm=False` gives the convolutions biases instead. Weights are drawn as He et al. 2015. Raises
    InvalidArgument for a depth that is not 6k + 2 or a width that is not positive.

    References: K. He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
    H. Li et al.: Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018.
    """

    def __init__(
        self,
        depth: int = 20,
        *,
        width: float = 1,
        skip: bool = True,
        batchnorm: bool = True,
        classes: int = 10,
        channels: int = 3,
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise InvalidArgument(f"depth must be 6k + 2 (8, 14, 20, 32, 56 …), got {depth}")
        if not width > 0:
            raise InvalidArgument(f"width must be positive, got {width}")
        super().__init__()
        filters = [max(1, round(16 * width)) * factor for factor in (1, 2, 4)]
        per_stage = (depth - 2) // 6
        self.conv = nn.Conv2d(channels, filters[0], 3, padding=1, bias=not batchnorm)
        self.norm = nn.BatchNorm2d(filters[0]) if batchnorm else nn.Identity()
        self.blocks = nn.Sequential()
        inputs = filters[0]
        for stage, outputs in enumerate(filters):
            for number in range(per_stage):
                stride = 2 if stage and not number else 1
                self.blocks.append(ResidualBlock(inputs, outputs, stride, skip=skip, batchnorm=batchnorm))
                inputs = outputs
        self.head = nn.Linear(inputs, classes)
        # Without normalization each branch would double the variance; scaled by this, all of them together
        # multiply it by about e (Hanin & Rolnick: How to Start Training, NeurIPS 2018).
        self._initialize(branch_scale=len(self.blocks) ** -0.5 if skip and not batchnorm else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes)."""
        x = relu(self.norm(self.conv(x)))
        return self.head(self.blocks(x).mean(dim=(2, 3)))

    def _initialize(self, branch_scale: float) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if name.endswith("conv2"):
                    with torch.no_grad():
                        module.weight.mul_(branch_scale)


def resnet(
    depth: int = 14,
    width: float = 1,
    *,
    skip: bool = True,
    batchnorm: bool = True,
    path: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    test_samples: int | None = None,
) -> Problem:
    """CIFAR-10 classification by a ResNet, with or without skip connections; cross-entropy.

    `depth`, `width`, `skip` and `batchnorm` are as in `ResNet`, `path` as in `cifar_images`; `samples` and
    `test_samples` keep the first so many images. No augmentation: the loss is one function of the
    parameters. Raises MissingData when the images are not there and InvalidArgument when there are fewer
    than asked for; its `make_model` raises InvalidArgument as `ResNet` does.
    """
    images = cifar_images(path)
    classes = len(images.classes)
    variant = f"{'' if skip else ', no skip connections'}{'' if batchnorm else ', no batch normalization'}"
    return Problem(
        name="resnet",
        model=lambda: ResNet(depth, width=width, skip=skip, batchnorm=batchnorm, classes=classes),
        loss_fn=cross_entropy,
        train=_first(images.train, samples, "samples"),
        test=_first(images.test, test_samples, "test_samples"),
        training=Training(
            "momentum",
            lr=0.1 if batchnorm else 0.01,
            momentum=0.9,
            weight_decay=5e-4,
            batch_size=128,
            epochs=20,
        ),
        description=f"CIFAR-10 images, ResNet-{depth} of width {width:g}{variant}",
        source="K. He et al., CVPR 2016; H. Li et al., NeurIPS 2018; A. Krizhevsky 2009",
    )


def _first(data: tuple[Tensor, Tensor], count: int | None, argument: str) -> tuple[Tensor, Tensor]:
    x, y = data
    if count is None:
        return data
    if not 1 <= count <= len(y):
        raise InvalidArgument(f"{argument} must be between 1 and {len(y)}, got {count}")
    # Copies, so that a small problem does not hold the whole set in memory.
    return x[:count].clone(), y[:count].clone()
