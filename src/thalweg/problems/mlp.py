"""The multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral

from torch import nn

from thalweg.errors import InvalidArgument

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def make_activation(name: str) -> nn.Module:
    """The activation called "relu", "tanh", "gelu" or "silu"; raises InvalidArgument for another name."""
    if name not in ACTIVATIONS:
        raise InvalidArgument(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


def hidden_sizes(hidden: Sequence[int]) -> tuple[int, ...]:
    """The sizes of hidden layers; raises InvalidArgument for anything but a tuple or list of positive integers."""
    listed = isinstance(hidden, (tuple, list))
    if not listed or any(
        isinstance(size, bool) or not isinstance(size, Integral) or size < 1 for size in hidden
    ):
        raise InvalidArgument(f"hidden must be a tuple of positive layer sizes such as (64,), got {hidden!r}")
    return tuple(hidden)


class MLP(nn.Sequential):
    """A fully connected network of the given layer sizes, from inputs (b, sizes[0]) to (b, sizes[-1]).

    Each hidden layer is linear, then batch normalization where asked for, then the activation, then dropout
    with the given probability. The last layer is linear. Raises InvalidArgument for fewer than two sizes, an
    unknown activation or a probability outside [0, 1).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        batchnorm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise InvalidArgument(f"sizes must be at least two positive layer sizes, got {tuple(sizes)}")
        if not 0 <= dropout < 1:
            raise InvalidArgument(f"dropout must be in [0, 1), got {dropout}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            layers[f"linear{number}"] = nn.Linear(inputs, outputs)
            if number == len(sizes) - 1:
                break
            if batchnorm:
                layers[f"norm{number}"] = nn.BatchNorm1d(outputs)
            layers[f"activation{number}"] = make_activation(activation)
            if dropout:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        super().__init__(layers)
