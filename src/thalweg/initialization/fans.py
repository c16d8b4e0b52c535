"""How many inputs an output of a layer sums, and how many outputs an input reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
Convolution: TypeAlias = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)

_GATES: dict[type[nn.Module], int] = {
    nn.LSTM: 4,
    nn.GRU: 3,
    nn.RNN: 1,
    nn.LSTMCell: 4,
    nn.GRUCell: 3,
    nn.RNNCell: 1,
}


@dataclass(frozen=True)
class Fans:
    """`inputs` summed by one output, `outputs` reached by one input, and the equal `blocks` along dimension 0.

    Both are means where the edges of a stride make them differ from place to place. Blocks are matrices of
    their own inside one tensor: query, key and value; the gates of an LSTM; the groups of a convolution.
    """

    inputs: float
    outputs: float
    blocks: int = 1


def module_fans(module: nn.Module, attribute: str, weight: Tensor) -> Fans | None:
    """The fans of `weight`, which is `module.attribute`; None when the module is not a known layer.

    Convolutions count what one group connects, and a strided one only the outputs an input reaches; torch.nn.init
    counts the outputs of all groups and ignores strides, and swaps inputs and outputs of transposed ones.
    """
    if isinstance(module, CONVOLUTIONS):
        return _convolution(module) if attribute == "weight" else None
    if isinstance(module, nn.Linear):
        return Fans(weight.shape[1], weight.shape[0]) if attribute == "weight" else None
    if isinstance(module, nn.Bilinear):
        # Each output sums over all pairs of the two inputs.
        pairs = weight.shape[1] * weight.shape[2]
        return Fans(pairs, weight.shape[0]) if attribute == "weight" else None
    if isinstance(module, nn.MultiheadAttention):
        if attribute == "in_proj_weight":
            return Fans(weight.shape[1], weight.shape[0] // 3, 3)
        projection = attribute in ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return Fans(weight.shape[1], weight.shape[0]) if projection else None
    gates = gate_count(module)
    if gates and attribute.startswith("weight_"):
        blocks = 1 if attribute.startswith("weight_hr") else gates
        return Fans(weight.shape[1], weight.shape[0] // blocks, blocks)
    return None


def gate_count(module: nn.Module) -> int:
    """How many gates a recurrent layer or cell stacks in its weights; 0 for other modules."""
    return next((count for kind, count in _GATES.items() if isinstance(module, kind)), 0)


def _convolution(module: Convolution) -> Fans:
    taps = math.prod(module.kernel_size)
    strides = math.prod(module.stride)
    groups = module.groups
    inputs, outputs = module.in_channels // groups, module.out_channels // groups
    if isinstance(module, TRANSPOSED):
        return Fans(inputs * taps / strides, outputs * taps, groups)
    return Fans(inputs * taps, outputs * taps / strides, groups)
