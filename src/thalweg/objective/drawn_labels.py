"""Random numbers that belong to a datum, whatever batch it comes in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15


def uniforms(seed: int, draw: int, positions: Tensor) -> Tensor:
    """A number in (0, 1) for each position, float64 and shaped like `positions` (integers of at least 0).

    Position i is the i-th number of a stream of its own for each seed and draw, so that what is drawn for a datum
    depends neither on how the data are cut nor on the device. Source: Steele et al. (2014), SplitMix64.
    """
    begun = int(_mixed(np.array([seed % 2**64], dtype=np.uint64))[0])
    start = _mixed(np.array([(begun + draw * _GOLDEN) % 2**64], dtype=np.uint64))
    # Arrays wrap around without a word.
    states = start + (positions.cpu().numpy().astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    numbers = (_mixed(states) >> np.uint64(11)).astype(np.float64)
    return torch.from_numpy((numbers + 0.5) * 2.0**-53).to(positions.device)


def normals(seed: int, draw: int, positions: Tensor) -> Tensor:
    """A standard normal number for each position; see `uniforms`."""
    return torch.special.ndtri(uniforms(seed, draw, positions))


def classes(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The class in which each of `uniform` (rows, draws) falls; probabilities (rows, classes) up to a factor."""
    steps = probabilities.double().cumsum(1)
    found = torch.searchsorted(steps, uniform * steps[:, -1:], right=True)
    return found.clamp_(max=probabilities.shape[1] - 1)


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
