"""What a model shows about each of its weights: the activation that follows, its fans, its residual branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage] - the public ones' base

from thalweg.initialization.fans import module_fans
from thalweg.initialization.flow import LayerUse
from thalweg.initialization.gains import LINEAR
from thalweg.initialization.operations import activation_of
from thalweg.initialization.sample import call, follow, made_up_input

_ACTIVATION_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu",
    nn.PReLU: "leaky_relu",
    nn.RReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.ELU: "elu",
    nn.CELU: "celu",
    nn.SELU: "selu",
    nn.Hardswish: "hardswish",
    nn.Softplus: "softplus",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "sigmoid",
    nn.LogSigmoid: "log_sigmoid",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log_softmax",
}


@dataclass(frozen=True)
class Facts:
    """What was seen of one weight.

    activation, slope: what follows the layer. normalized: a normalization stands before that. matrix: its fans as it
    was used; convolution: by one. packed: equal parts of the output. lookup: its rows are looked up; multiplied: it
    is a factor of a product; both for an embedding tied to a head. branches: the length of the residual stream that
    it is the last of a branch to write to, 0 for none; branch_scale: the model's own factor on that branch;
    rescaled: a normalization stands between the weight and the addition.
    """

    activation: str = LINEAR
    slope: float = 0.0
    normalized: bool = False
    matrix: tuple[int, int] | None = None
    convolution: bool = False
    packed: int = 1
    lookup: bool = False
    multiplied: bool = False
    branches: int = 0
    branch_scale: float = 1.0
    rescaled: bool = False


@dataclass(frozen=True)
class Reading:
    """The facts by parameter name, how they were found out, and whether the forward pass was followed."""

    facts: dict[str, Facts]
    how: str
    traced: bool


def read(model: nn.Module, x: Any = None) -> Reading:
    """Follow model(x), or the model on an input made up from its first layer, or else go by its modules' order."""
    if x is not None:
        uses = follow(model, lambda: call(model, x))
        if uses is not None:
            return Reading(_merged(uses), "followed the forward pass on x", True)
        return Reading(_by_order(model), f"the forward pass on x could not be followed; {_ORDER}", False)
    made_up = made_up_input(model)
    if made_up is None:
        return Reading(_by_order(model), f"no x was given and none could be made up; {_ORDER}", False)
    shape = tuple(made_up[0].shape)
    return Reading(
        _merged(made_up[1]), f"followed the forward pass on a made-up input of shape {shape}", True
    )


_ORDER = (
    "activations were taken from the order of the modules, so functional ones, residual branches and the roles of "
    "bare parameters were not seen: pass x, a batch on which model(x) works"
)


def _merged(uses: list[LayerUse]) -> dict[str, Facts]:
    """The facts of each parameter; of one used several times, those of its first use as a factor."""
    by_parameter: dict[str, list[LayerUse]] = {}
    for use in uses:
        if use.parameter is not None:
            by_parameter.setdefault(use.parameter, []).append(use)
    return {name: _facts(found) for name, found in by_parameter.items()}


def _facts(uses: list[LayerUse]) -> Facts:
    products = [use for use in uses if not use.lookup]
    use = (products or uses)[0]
    return Facts(
        use.following,
        use.slope,
        use.normalized,
        (use.inputs * use.taps, use.outputs * use.taps),
        use.channels_first,
        use.packed,
        lookup=len(products) < len(uses),
        multiplied=bool(products),
        branches=0 if use.stream is None else use.stream.length,
        branch_scale=use.scale,
        rescaled=use.rescaled,
    )


def _by_order(model: nn.Module) -> dict[str, Facts]:
    facts: dict[str, Facts] = {}
    waiting: list[str] = []
    normalized = False
    names = {parameter: name for name, parameter in model.named_parameters()}
    for module in model.modules():
        activation = _activation(module)
        if activation is not None:
            for name in waiting:
                facts[name] = Facts(*activation, normalized=normalized, multiplied=True)
            waiting = []
        elif isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm)):
            normalized = True
        found = list(_weights(module, names))
        if found:
            waiting, normalized = found, False
    return facts


def _weights(module: nn.Module, names: dict[nn.Parameter, str]) -> Iterator[str]:
    for attribute, parameter in module.named_parameters(recurse=False):
        if parameter.dim() > 1 and module_fans(module, attribute, parameter) is not None:
            yield names[parameter]


def _activation(module: nn.Module) -> tuple[str, float] | None:
    name = next((name for kind, name in _ACTIVATION_MODULES.items() if isinstance(module, kind)), None)
    if isinstance(module, nn.Hardtanh) and name is None:
        return activation_of("hardtanh", (None, module.min_val))
    if name is None:
        return None
    if isinstance(module, nn.LeakyReLU):
        return name, module.negative_slope
    if isinstance(module, nn.PReLU):
        return name, float(module.weight.detach().float().mean())
    if isinstance(module, nn.RReLU):
        return name, (module.lower + module.upper) / 2
    if isinstance(module, (nn.ELU, nn.CELU)):
        return name, 0.0 if module.alpha == 1 else float(module.alpha)
    return name, 0.0
