"""Initializing a model by what follows each of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.errors import InvalidArgument
from thalweg.initialization.draw import generator, normal, orthogonal
from thalweg.initialization.reading import read
from thalweg.initialization.rules import Drawn, Rule, Scheme, rules
from thalweg.numbers import number


@dataclass(frozen=True)
class ParameterInitialization:
    """What one parameter was given.

    scheme: "xavier", "he" and "lecun" draw normal entries of deviation gain·√(2/(fan_in+fan_out)), gain/√fan_in and
    gain/√fan_in; "orthogonal" is gain times a matrix with orthonormal rows or columns, whose entries have deviation
    `std`; "normal" has deviation `std`; "zero" and "one" are constant; "left" was not touched. reason: why.
    """

    name: str
    shape: tuple[int, ...]
    scheme: Drawn
    gain: float
    std: float
    reason: str


@dataclass(frozen=True)
class Initialization:
    """What `initialize` did: one entry per parameter, in the model's order.

    how: how the activations and branches were found; traced: whether a forward pass was followed for that.
    """

    parameters: tuple[ParameterInitialization, ...]
    scheme: Scheme
    how: str
    traced: bool

    def __getitem__(self, name: str) -> ParameterInitialization:
        for entry in self.parameters:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.parameters), default=0)
        lines = [
            f"{entry.name:<{width}}  {entry.scheme:<10}  {_size(entry):<22}  {entry.reason}"
            for entry in self.parameters
        ]
        return "\n".join([*lines, f"({self.how})"])


def initialize(
    model: nn.Module, scheme: Scheme = "auto", seed: int | torch.Generator = 0, *, x: Any = None
) -> Initialization:
    """Draw the parameters of `model` anew, in place, so that signals keep their size, and say what was done.

    "auto" looks at what follows each layer: He (gain √2, or that of the leak) before ReLU and its smooth relatives,
    LeCun before SELU, Xavier before everything else (gain 5/3 before tanh). The last layer of a residual branch is
    drawn with deviation 1/√fan_in and divided by √L, L the number of branches on its stream: L additions then
    multiply the mean square by (1 + 1/L)^L < e instead of 2^L; for N transformer blocks that is GPT-2's 1/√(2N). A
    stream that is normalized after each addition (post-norm) is not divided, nor is a branch that ends in a
    normalization, which would undo it. "residual" is "auto", but an error where there is no residual branch.

    "xavier": √(2/(fan_in+fan_out)) for every layer, "he": √(2/fan_in) for every layer (√(2/((1+a²)·fan_in)) before
    a leaky ReLU), whatever follows. "orthogonal": orthonormal rows or columns times the gain of what follows.

    Biases are 0 (1 for an LSTM's forget gate), normalizations 1 and 0, recurrent matrices orthogonal per gate,
    embeddings standard normal, or of deviation 1/√width where one is tied to a head. Query, key and value in one
    matrix count as three. A tied parameter is drawn once. Frozen parameters, and those not seen as the weight of a
    layer, are left as they are; the result says so.

    Parameters
    ----------
    seed: of the CPU generator that the weights are drawn from, or that generator; the global one is not touched.
    x: a batch on which model(x) works (model(**x) for a dict), for looking at the model; only its shapes matter. When
        None, one is made up from the first layer; where the model does not take it, the order of the modules is used
        and residual branches and functional activations are not seen. The result says which.

    Raises
    ------
    InvalidArgument: no parameters, an unknown scheme, an x that the model refuses, lazy layers that have no shape yet,
        or, with "residual", no residual branch. The model is then unchanged.

    Sources: Glorot & Bengio (2010); He et al. (2015); Saxe et al. (2014); Radford et al. (2019), section 2.3; Hanin &
    Rolnick (2018); Jozefowicz et al. (2015), the forget gate.
    """
    if scheme not in get_args(Scheme):
        raise InvalidArgument(f"scheme must be one of {', '.join(get_args(Scheme))}, got {scheme!r}")
    check_parameters(model)
    draw = generator(seed)
    reading = read(model, x)
    if scheme == "residual" and not any(fact.branches for fact in reading.facts.values()):
        raise InvalidArgument(f'scheme "residual": no residual branch found ({reading.how}); use "auto"')
    chosen = rules(model, scheme, reading)
    entries: list[ParameterInitialization] = []
    for name, parameter in model.named_parameters():
        rule = chosen[name]
        _fill(parameter, rule, draw)
        shape = tuple(parameter.shape)
        entries.append(ParameterInitialization(name, shape, rule.scheme, rule.gain, rule.std, rule.reason))
    return Initialization(tuple(entries), scheme, reading.how, reading.traced)


def check_parameters(model: nn.Module) -> None:
    """Raise InvalidArgument unless the model has parameters, all of a known shape."""
    parameters = dict(model.named_parameters())
    if not parameters:
        raise InvalidArgument(
            f"model has no parameters: {type(model).__name__} has nothing to initialize or to train"
        )
    lazy = next((name for name, p in parameters.items() if is_lazy(p)), None)
    if lazy is not None:
        raise InvalidArgument(f"model: parameter {lazy} has no shape yet; call the model on a batch first")


@torch.no_grad()
def _fill(parameter: Tensor, rule: Rule, draw: torch.Generator) -> None:
    if rule.scheme == "left":
        return
    if rule.scheme in ("zero", "one"):
        parameter.fill_(rule.scheme == "one")
        if rule.ones is not None:
            parameter[slice(*rule.ones)] = 1
        return
    if rule.scheme == "orthogonal":
        matrix = parameter.flatten(0, -2) if rule.stacked else parameter
        values = orthogonal(matrix, rule.gain, rule.blocks, draw).reshape(parameter.shape)
    else:
        values = normal(parameter, rule.std, draw)
    parameter.copy_(values)
    if rule.zeros is not None:
        parameter[rule.zeros] = 0


def _size(entry: ParameterInitialization) -> str:
    if entry.scheme in ("zero", "one", "left"):
        return ""
    return f"σ {number(entry.std, 3)}, gain {number(entry.gain, 3)}"
