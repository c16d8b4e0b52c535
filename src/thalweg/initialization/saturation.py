"""Units that pass no gradient: rectifiers that never fire, sigmoids and tanhs at their ends."""

from __future__ import annotations

from torch import Tensor

from thalweg.initialization.flow import LayerUse

NEAR_END = 0.01
"""An output this near an end of its range, as a fraction of the range, is saturated: its slope is below 4 %."""

_ENDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hardtanh": (-1.0, 1.0)}


def dead_units(activation: str, output: Tensor, use: LayerUse) -> float | None:
    """Fraction of units that are zero for all of the batch after a ReLU; None for other activations."""
    if activation not in ("relu", "relu6") or output.dim() < 2:
        return None
    dimension = 1 if use.channels_first else -1
    return float((output.movedim(dimension, -1).flatten(0, -2) == 0).all(dim=0).float().mean())


def saturated(activation: str, output: Tensor) -> float | None:
    """Fraction of the outputs of a sigmoid or tanh within NEAR_END of an end; None for other activations."""
    if activation not in _ENDS:
        return None
    low, high = _ENDS[activation]
    margin = NEAR_END * (high - low)
    return float(((output < low + margin) | (output > high - margin)).float().mean())
