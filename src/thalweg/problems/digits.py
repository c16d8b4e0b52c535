"""Handwritten digits, the data set that comes with scikit-learn: an MLP and a small convolutional net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.errors import InvalidArgument
from thalweg.problems.mlp import MLP, hidden_sizes, make_activation
from thalweg.problems.problem import Problem, Training
from thalweg.problems.split import stratified_split

SOURCE = "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (scikit-learn's copy)"

Samples = tuple[Tensor, Tensor]


def digit_images() -> tuple[Samples, Samples]:
    """The 1,797 digits as ((x, y) for training, (x, y) for test), split 80:20 within each class.

    x is float32 of shape (n, 64), row by row of the 8×8 image; y is int64 of shape (n,), the digit. Pixels
    are shifted and scaled by the mean and the standard deviation of all training pixels together, so that
    their overall variance is 1 and those that are always blank stay constant.
    """
    from sklearn.datasets import load_digits

    pixels, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    x, y = torch.tensor(pixels, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
    train, test = (torch.from_numpy(indices) for indices in stratified_split(labels))
    std, mean = torch.std_mean(x[train], correction=0)
    x = (x - mean) / std
    return (x[train], y[train]), (x[test], y[test])


def digits(
    hidden: Sequence[int] = (128, 64),
    activation: str = "relu",
    *,
    batchnorm: bool = False,
    dropout: float = 0.0,
) -> Problem:
    """Digit recognition by an MLP of sizes 64, *hidden, 10; cross-entropy.

    `activation`, `batchnorm` and `dropout` are as in `MLP`. Default training passes 96 % test accuracy.
    Its `make_model` raises InvalidArgument as `MLP` does.
    """
    sizes = (64, *hidden_sizes(hidden), 10)
    train, test = digit_images()
    return Problem(
        name="digits",
        model=lambda: MLP(sizes, activation, batchnorm=batchnorm, dropout=dropout),
        loss_fn=cross_entropy,
        train=train,
        test=test,
        training=Training("momentum", lr=0.05, momentum=0.9, batch_size=64, epochs=20),
        description=f"8×8 handwritten digits, MLP {'-'.join(map(str, sizes))}, {activation}",
        source=SOURCE,
    )


class DigitsConv(nn.Module):
    """A convolutional net for 8×8 images: inputs (b, 64) or (b, 1, 8, 8), logits (b, 10).

    Two 3×3 convolutions of `width` and 2·`width` filters, each with batch normalization where asked for and
    the activation; the second has stride 2; then a linear layer on its 4×4 maps. Raises InvalidArgument for
    a width below 1 or an unknown activation.
    """

    def __init__(self, width: int = 16, activation: str = "relu", *, batchnorm: bool = True) -> None:
        if width < 1:
            raise InvalidArgument(f"width must be at least 1, got {width}")
        super().__init__()
        # A bias before batch normalization would be a parameter without effect.
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=not batchnorm)
        self.norm1 = nn.BatchNorm2d(width) if batchnorm else nn.Identity()
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=not batchnorm)
        self.norm2 = nn.BatchNorm2d(2 * width) if batchnorm else nn.Identity()
        self.activation = make_activation(activation)
        self.head = nn.Linear(2 * width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, 10) of images (b, 64) or (b, 1, 8, 8)."""
        x = x.reshape(-1, 1, 8, 8)
        x = self.activation(self.norm1(self.conv1(x)))
        x = self.activation(self.norm2(self.conv2(x)))
        return self.head(x.flatten(1))


def digits_conv(width: int = 16, activation: str = "relu", *, batchnorm: bool = True) -> Problem:
    """Digit recognition by a small convolutional net with batch normalization; cross-entropy.

    `width` is the number of filters of the first layer. Default training passes 97 % test accuracy.
    """
    train, test = digit_images()
    return Problem(
        name="digits_conv",
        model=lambda: DigitsConv(width, activation, batchnorm=batchnorm),
        loss_fn=cross_entropy,
        train=train,
        test=test,
        training=Training("momentum", lr=0.05, momentum=0.9, batch_size=64, epochs=15),
        description=f"8×8 handwritten digits, convolutional net of {width} and {2 * width} filters",
        source=SOURCE,
    )
